"""What the tests of the campaign share: the code that they break off, and the name of their numbers."""

from __future__ import annotations

from pathlib import Path

from tests.storage.support import REPOSITORY

CASES = "cases"
"""The property of a test that says how many cases it has tried."""

SHARDS = 12
"""Tests that share one sweep, so that several processes may run them."""

ERRORS: tuple[type[BaseException], ...] = (KeyboardInterrupt, RecursionError, MemoryError)
"""What comes, by the number of the shard."""


def sources(*packages: str, without: tuple[str, ...]) -> tuple[str, ...]:
    """The source files of the packages, but for those of some names and directories."""
    return tuple(
        str(path)
        for package in packages
        for path in sorted(Path(REPOSITORY, package).rglob("*.py"))
        if not set(without).intersection(path.relative_to(REPOSITORY).parts)
    )


PRODUCT = sources("encore_events", "encore_storage", without=("subscribers", "testing.py"))
"""What runs between a program and its data; that which only listens is free to be cut off."""
