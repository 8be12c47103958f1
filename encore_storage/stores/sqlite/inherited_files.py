"""The open files that a forked child has inherited.

SQLite keeps the locks of a database in tables that belong to the process. A fork copies the tables, but not the locks.
While a child has an inherited descriptor of the database, SQLite takes it for the holder of locks that only the parent
has, and the child's writes may be lost. Opening the database anew does not help.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from encore_events import forks

_DIRECTORIES = ("/proc/self/fd", "/dev/fd")
_MOST = 4096  # descriptors to examine where no directory lists them


class InheritedFiles:
    """The ordinary files that the parent had open when this process was forked: none until the first fork."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[int, int]] = {}
        forks.renew_in_child(self, InheritedFiles._renew)

    def are_open(self, path: str) -> bool:
        """Return whether an inherited descriptor of the file at `path` is still open."""
        if not self._files:
            return False
        try:
            wanted = _identity(os.stat(path))  # noqa: PTH116 (names need not be UTF-8)
        except OSError:
            return False
        return any(known == wanted and _regular_file(fd) == wanted for fd, known in self._files.items())

    def _renew(self) -> None:
        found = ((fd, _regular_file(fd)) for fd in _descriptors())
        self._files = {fd: identity for fd, identity in found if identity is not None}


def _descriptors() -> Iterable[int]:
    for directory in _DIRECTORIES:
        try:
            return [int(name) for name in os.listdir(directory)]  # noqa: PTH208 (the fastest)
        except OSError:
            continue
    return range(_MOST)


def _regular_file(fd: int) -> tuple[int, int] | None:
    """Return the identity of a descriptor's file; None if it is closed or not an ordinary file."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return _identity(found) if stat.S_ISREG(found.st_mode) else None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


inherited_files = InheritedFiles()
