"""The files that a forked child has inherited open.

SQLite counts the locks of a database in tables that belong to the process. A fork copies them, but not the locks: as
long as a descriptor of the database is inherited, SQLite takes the child for the holder of locks that only the parent
has, and what the child writes may be lost. It does not help to open the database anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from encore_events import forks

_DIRECTORIES = ("/proc/self/fd", "/dev/fd")
_MOST = 4096  # descriptors to look at where no directory lists them


class InheritedFiles:
    """The ordinary files that were open in the parent when this process was forked."""

    def __init__(self) -> None:
        """Start with none, and look again in each child."""
        self._files: dict[int, tuple[int, int]] = {}
        forks.renew_in_child(self, InheritedFiles._look)

    def are_open(self, path: str) -> bool:
        """Return whether a descriptor of the file at `path` is inherited and still open."""
        if not self._files:
            return False
        try:
            wanted = _identity(os.stat(path))  # noqa: PTH116 (names need not be UTF-8)
        except OSError:
            return False
        return any(known == wanted and _regular_file(number) == wanted for number, known in self._files.items())

    def _look(self) -> None:
        found = ((number, _regular_file(number)) for number in _descriptors())
        self._files = {number: identity for number, identity in found if identity is not None}


def _descriptors() -> Iterable[int]:
    for directory in _DIRECTORIES:
        try:
            return [int(name) for name in os.listdir(directory)]  # noqa: PTH208 (the quickest way)
        except OSError:
            continue
    return range(_MOST)


def _regular_file(number: int) -> tuple[int, int] | None:
    """Return the identity of the file that a descriptor has open; None if it is closed, or no ordinary file."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return _identity(found) if stat.S_ISREG(found.st_mode) else None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


inherited_files = InheritedFiles()
"""Those of this process."""
