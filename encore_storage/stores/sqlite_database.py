"""A database of SQLite: one connection that writes, and others that read what is committed meanwhile."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from encore_storage.errors import StoreConnectionError, StoreReadOnlyError, TransactionAbortedError
from encore_storage.stores.sqlite_connection import Connection, Place, Row

MEMORY = ":memory:"

# FULL: the commits that were told survive a power loss; fullfsync does the same on macOS. The limit cuts
# the log down again after a large transaction.
_SETTINGS = ("synchronous = FULL", "fullfsync = ON", "journal_size_limit = 67108864")

_MEMORY_SETTINGS = ("temp_store = MEMORY", "cache_spill = OFF")

_MOST_IDLE = 8


class Database(ABC):
    """What a store needs of a database. Only who has the store's turn may write.

    Args:
        place: where it is.

    Attributes:
        process: the process that opened it.
    """

    def __init__(self, place: Place) -> None:
        """Open it, or make it."""
        self.process = os.getpid()
        self._place = place
        self._writer = Connection(place, create=True)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite may have ended it by itself, as it does when a disk is full."""
        return self._writer.in_transaction

    @abstractmethod
    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what is committed."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def write(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement inside the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        if not self._writer.in_transaction:
            raise TransactionAbortedError(self._place.store)
        return self._writer.run(statement, *parameters)

    def begin(self) -> None:
        """Begin a transaction, after what an interrupt may have left of another."""
        self.rollback()
        try:
            self._begin()
        except BaseException:
            self.rollback()
            raise

    def commit(self) -> None:
        """Commit the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        self.write("COMMIT")

    def rollback(self) -> None:
        """Roll the transaction back, unless SQLite has."""
        if self._writer.in_transaction:
            self._writer.run("ROLLBACK")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A block that is committed, or rolled back if it raises."""
        try:
            self.begin()
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block inside a transaction of which nothing stays if it raises."""
        self.write("SAVEPOINT encore")
        try:
            yield
        except BaseException:
            if self._writer.in_transaction:
                self.write("ROLLBACK TO encore")
                self.write("RELEASE encore")
            raise
        self.write("RELEASE encore")

    def _begin(self) -> None:
        self._writer.run("BEGIN IMMEDIATE")
        self._writer.run("DELETE FROM entry WHERE 0")  # BEGIN alone succeeds with a file that can't be written to


class FileDatabase(Database):
    """A database in a file, with a write-ahead log: who reads and who writes don't wait for each other.

    Args:
        path: of the file, absolute.
        store: the name of the store.
        timeout: how many seconds to wait for another process; None for as long as it takes.
    """

    def __init__(self, path: str, store: str, timeout: float | None) -> None:
        """Open the file, or make it."""
        self._path = path
        self._idle: deque[Connection] = deque()
        self._is_closed = False
        super().__init__(Place(store, path, f"{Path(path).as_uri()}?", "wal", _SETTINGS, timeout))

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what is committed."""
        connection = self.take()
        try:
            return connection.run(statement, *parameters)
        finally:
            self.give_back(connection)

    def begin(self) -> None:
        """Begin a transaction; a connection that may not write is opened anew.

        SQLite opens a file for reading when it may not write to it, and leaves it at that. So what was wrong for
        a moment would be wrong for life.
        """
        if self._writer.is_closed:  # opening it anew has failed
            self._reopen()
        try:
            super().begin()
        except StoreReadOnlyError:
            self._reopen()
            super().begin()

    def close(self) -> None:
        """Close the connections; those that are in use are closed when they are given back."""
        self._is_closed = True
        self._writer.close()
        self._close_idle()

    def take(self) -> Connection:
        """A connection to read with, for the caller alone."""
        if self._is_closed:
            raise StoreConnectionError(f"store {self._place.store!r} is disconnected: call connect() first")
        try:
            return self._idle.pop()
        except IndexError:
            return Connection(self._place)

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next reader, or close it. Takes no lock: a finalizer may call it."""
        try:
            if connection.in_transaction and not connection.is_inherited:
                connection.run("ROLLBACK")
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._is_closed or len(self._idle) > _MOST_IDLE:
            self._close_idle()

    def _reopen(self) -> None:
        """Open the writer anew. The readers go first: connections share the log's index, which may be read-only."""
        self._writer.close()
        self._close_idle()
        if os.access(self._path, os.W_OK):
            self._open_log()
        self._writer = Connection(self._place)

    def _open_log(self) -> None:
        """Give the log and its index the file's mode: made while that was read-only, they would stay so."""
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(self._path + suffix).chmod(Path(self._path).stat().st_mode & 0o777)

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class MemoryDatabase(Database):
    """A database in memory, of at most 1 GiB: one connection writes, and one reads.

    SQLite lets nobody begin to read there while another connection is in a transaction. So the connection that
    reads begins before each transaction, and ends just before its commit.

    Args:
        store: the name of the store.
    """

    def __init__(self, store: str) -> None:
        """Make an empty database."""
        uri = f"file:/encore-{uuid.uuid4()}?vfs=memdb&"
        super().__init__(Place(store, MEMORY, uri, "memory", _MEMORY_SETTINGS, 0))
        # Reentrant, since a garbage collection inside it may run a finalizer that reads.
        self._lock = threading.RLock()
        self._reader = Connection(self._place)

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what is committed."""
        with self._lock:
            return self._reader.run(statement, *parameters)

    def commit(self) -> None:
        """Commit the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        with self._let_go():
            super().commit()

    def rollback(self) -> None:
        """Roll the transaction back, unless SQLite has."""
        with self._let_go():
            super().rollback()

    def close(self) -> None:
        """Close both connections: the database is gone."""
        self._reader.close()
        self._writer.close()

    def _begin(self) -> None:
        with self._lock:
            self._reader.run("BEGIN")
            self._reader.run("SELECT 1 FROM entry LIMIT 1")
            super()._begin()

    @contextlib.contextmanager
    def _let_go(self) -> Iterator[None]:
        """A block in which nobody reads."""
        with self._lock:
            if self._reader.in_transaction:
                self._reader.run("ROLLBACK")
            yield


class Reading(Protocol):
    """Something to read rows from for a while."""

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement."""

    def close(self) -> None:
        """Give up what is held for it."""


class Latest:
    """Reads whatever is there at the moment, and holds nothing.

    Args:
        read: reads all rows, as `read(statement, *parameters)`.
    """

    def __init__(self, read: Callable[..., list[Row]]) -> None:
        """Read by that function."""
        self._read = read

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement."""
        return self._read(statement, *parameters)

    def close(self) -> None:
        """Do nothing."""


class Snapshot:
    """Reads the database as it was at the first read, whatever is committed since; has a connection until closed.

    Args:
        database: whose connection it takes.
    """

    def __init__(self, database: FileDatabase) -> None:
        """Take a connection."""
        self._database = database
        self._connection: Connection | None = database.take()

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement; none are read after the close."""
        connection = self._connection
        if connection is None:
            raise StoreConnectionError("the snapshot is closed")
        if not connection.in_transaction:
            connection.run("BEGIN")
        return connection.run(statement, *parameters)

    def close(self) -> None:
        """Give the connection back; another thread may call it, and once more is no harm."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._database.give_back(connection)
