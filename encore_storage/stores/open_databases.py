"""The SQLite database files that this process has open, which must not be opened as files meanwhile.

POSIX locks belong to the process, and closing any descriptor of a file drops all of them. Reading an open database or
its log as a file therefore takes SQLite's locks away, and acknowledged writes are lost.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from encore_events import forks
from encore_storage.errors import OpenDatabaseError

SUFFIXES = ("", "-wal", "-shm")  # what SQLite appends to the path of a database for its files


class OpenDatabase(Protocol):
    """An open connection to the database file with an absolute path, and the name of its store."""

    path: str
    store: str


class _OpenDatabases:
    """The open databases of this process by id, referenced weakly."""

    def __init__(self) -> None:
        self.by_id: weakref.WeakValueDictionary[int, OpenDatabase] = weakref.WeakValueDictionary()
        forks.renew_in_child(self, _OpenDatabases._renew)

    def _renew(self) -> None:
        """Forget the databases of the parent: a child does not have its locks."""
        self.by_id = weakref.WeakValueDictionary()


_open = _OpenDatabases()


def register(database: OpenDatabase) -> None:
    """Protect the files of a database until it is unregistered or collected."""
    _open.by_id[id(database)] = database


def unregister(database: OpenDatabase) -> None:
    """Protect its files no longer. A second call does nothing."""
    _open.by_id.pop(id(database), None)


def databases() -> list[OpenDatabase]:
    """Return the registered databases."""
    return [database for reference in _open.by_id.valuerefs() if (database := reference()) is not None]


def is_any_open() -> bool:
    """Return whether any database is registered."""
    return bool(_open.by_id)


def check_not_open(found: os.stat_result, path: str) -> None:
    """Reject a file that is part of an open database. Call it before opening, replacing or removing the file.

    Args:
        found: the result of `os.stat` for the file.
        path: the path to name in the error.

    Raises:
        OpenDatabaseError: the file is a database of this process, its log or its index.
    """
    stores = {database.path: database.store for database in databases()} if is_any_open() else {}
    for database, store in stores.items():
        if any(_is_same(database + suffix, found) for suffix in SUFFIXES):
            raise OpenDatabaseError(path, store)


def _is_same(path: str, found: os.stat_result) -> bool:
    try:
        other = os.stat(path)  # noqa: PTH116 (names need not be UTF-8)
    except OSError:
        return False
    return os.path.samestat(other, found)
