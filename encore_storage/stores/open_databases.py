"""The database files that this process has open: nobody may open them as files meanwhile.

POSIX locks belong to the process, and closing any descriptor of a file drops all of them. So to read a database that
SQLite has open, or its log, as a file takes SQLite's locks away, and acknowledged writes are lost.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from encore_events import forks
from encore_storage.errors import OpenDatabaseError

SUFFIXES = ("", "-wal", "-shm")
"""What SQLite appends to the path of a database for each of its files."""


class OpenDatabase(Protocol):
    """A connection with a database in a file, which is open."""

    @property
    def path(self) -> str:
        """Its absolute path."""

    @property
    def store(self) -> str:
        """The name of the store that has it open."""


class _OpenDatabases:
    """The databases of this process, by the id of whatever has them open, which is not kept."""

    def __init__(self) -> None:
        self.by_id: weakref.WeakValueDictionary[int, OpenDatabase] = weakref.WeakValueDictionary()
        forks.renew_in_child(self, _OpenDatabases._renew)

    def __bool__(self) -> bool:
        return bool(self.by_id)

    def stores(self) -> dict[str, str]:
        """Return the name of a store by the path of the database that it has open."""
        return {database.path: database.store for database in self.living()}

    def living(self) -> list[OpenDatabase]:
        """Return all of them."""
        return [database for reference in self.by_id.valuerefs() if (database := reference()) is not None]

    def _renew(self) -> None:
        """Forget the databases of the parent: its locks are not those of the child."""
        self.by_id = weakref.WeakValueDictionary()


_open = _OpenDatabases()


def opened(database: OpenDatabase) -> None:
    """Refuse the files of a database from now on, as long as `database` exists and is not closed."""
    _open.by_id[id(database)] = database


def closed(database: OpenDatabase) -> None:
    """Refuse its files no longer; doing so twice changes nothing."""
    _open.by_id.pop(id(database), None)


def count_open(path: str) -> int:
    """Return how many connections this process has with the database at a path."""
    return sum(database.path == path for database in _open.living())


def databases() -> list[OpenDatabase]:
    """Return whatever has a database open in this process."""
    return _open.living()


def is_any_open() -> bool:
    """Return whether there is any database that `check_not_open` could refuse."""
    return bool(_open)


def check_not_open(found: os.stat_result, path: str) -> None:
    """Refuse a file that is part of an open database. To be called before the file is opened, replaced or removed.

    Args:
        found: what `os.stat` gives for the file.
        path: the path to name in the error.

    Raises:
        OpenDatabaseError: it is a database of this process, or its log or index.
    """
    if not _open:
        return
    for database, store in _open.stores().items():
        if any(_is_same(database + suffix, found) for suffix in SUFFIXES):
            raise OpenDatabaseError(path, store)


def _is_same(path: str, found: os.stat_result) -> bool:
    try:
        other = os.stat(path)  # noqa: PTH116 (names need not be UTF-8)
    except OSError:
        return False
    return (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino)
