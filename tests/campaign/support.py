"""Constants shared by the tests of the campaign."""

from __future__ import annotations

from pathlib import Path

from tests.storage.support import REPOSITORY

CASES = "cases"
"""The property of a test that holds its number of cases."""

SHARDS = 12
"""The number of tests that share one sweep, so that several processes can run it."""

ERRORS: tuple[type[BaseException], ...] = (KeyboardInterrupt, RecursionError, MemoryError)
"""The errors to raise, by the number of the shard."""


def sources(*packages: str, without: tuple[str, ...]) -> tuple[str, ...]:
    """Return the source files of the packages, except files and directories named in `without`."""
    return tuple(
        str(path)
        for package in packages
        for path in sorted(Path(REPOSITORY, package).rglob("*.py"))
        if not set(without).intersection(path.relative_to(REPOSITORY).parts)
    )


PRODUCT = sources("encore_events", "encore_storage", without=("subscribers", "processes", "testing.py"))
"""The code between a program and its data. Subscribers, and the cells that they count in, may be interrupted."""
