"""A database in a file, which is read while others write."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path

from encore_events.once import Once
from encore_storage.errors import StoreConnectionError, StoreReadOnlyError
from encore_storage.stores.open_databases import SUFFIXES, databases
from encore_storage.stores.sqlite.connection import DatabaseConfig, DatabaseConnection, Row
from encore_storage.stores.sqlite.database import Database
from encore_storage.transactions.turn import Lease, Turn

# With FULL, acknowledged commits survive a power loss; on macOS that takes fullfsync. The limit truncates the log after
# a large transaction.
_SETTINGS = ("synchronous = FULL", "fullfsync = ON", "journal_size_limit = 67108864")

_MOST_IDLE = 8

_CONTENT = "SELECT key, metadata, modified, blob FROM entry ORDER BY key"


def may_write(path: str) -> bool:
    """Return whether the process, as its effective user, may write to the file."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


class FileDatabase(Database):
    """A database in a file with a write-ahead log: readers and the writer don't wait for each other."""

    def __init__(self, path: str, store: str, timeout: float | None, turn: Turn) -> None:
        self._path = path
        self._turn = turn
        self._idle: deque[DatabaseConnection] = deque()
        self._is_closed = False
        super().__init__(DatabaseConfig(store, path, f"{Path(path).as_uri()}?", "wal", _SETTINGS, timeout, path))
        self._files = {"": _identity(path)}
        self._remember_log()

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement that reads committed data."""
        connection = self.acquire_reader()
        try:
            return connection.run(statement, *parameters)
        finally:
            self.release_reader(connection)

    def begin(self) -> None:
        """Begin a transaction. Reopen the connection first if it cannot write.

        SQLite opens a file for reading only when it cannot write to it, and the connection stays that way. Without
        reopening, a temporary fault would be permanent.
        """
        if self._writer.is_closed:  # closed before a fork, or an earlier reopening has failed
            self._reopen()
        if self._moved():  # a single look at the files if nothing is wrong
            self._recover_log()
            self._check_in_place()
        try:
            super().begin()
        except StoreReadOnlyError:
            self._reopen()
            super().begin()

    def commit(self) -> None:
        """Commit the transaction. Raises StoreConnectionError if a file was moved, or TransactionAbortedError."""
        self._check_in_place()
        super().commit()

    def compact(self) -> None:
        """Rewrite the database without the space of deleted values, and copy it from the log, unless that is read."""
        super().compact()
        self._writer.run("PRAGMA wal_checkpoint(TRUNCATE)")

    def close_idle(self, *, writer: bool) -> None:
        """Close the idle connections, which are reopened on demand; with the turn, the `writer` too."""
        if writer:
            self._writer.close()
            self._forget_log()
        self._close_readers()

    def close(self) -> None:
        """Close all connections, those in use when they are released."""
        self._is_closed = True
        self._writer.close()
        self._close_readers()

    def acquire_reader(self) -> DatabaseConnection:
        """Return a connection for reading, for the caller alone."""
        if self._is_closed:
            raise StoreConnectionError(f"store {self.config.store!r} is disconnected: call connect() first")
        try:
            return self._idle.pop()
        except IndexError:
            return self._open_reader()

    def release_reader(self, connection: DatabaseConnection) -> None:
        """Keep a connection for the next reader, or close it. Take no lock: finalizers call this."""
        if connection.in_transaction and not connection.is_inherited:
            connection.run("ROLLBACK")
        self._idle.append(connection)
        self._close_readers(keep=0 if self._is_closed else _MOST_IDLE)

    def _open_reader(self) -> DatabaseConnection:
        if self._is_log_removed():  # checked before SQLite uses the index of the old log
            self._recover_if_free()
        connection = DatabaseConnection(self.config)
        try:
            self._check_in_place()
        except BaseException:
            connection.close()
            raise
        self._remember_log()
        return connection

    def _recover_if_free(self) -> None:
        holder = _Holder()
        lease = Lease(holder)
        try:
            if self._turn.take_if_free(lease):
                self._recover_log()
        finally:
            self._turn.free(lease)
        self._check_in_place()

    def _reopen(self) -> None:
        """Reopen the writer, after closing the readers: connections share the log's index, which may be read-only."""
        self._writer.close()
        self._close_readers()
        self._forget_log()
        if may_write(self._path):
            self._make_log_writable()
        self._check_in_place()
        self._writer = DatabaseConnection(self.config)
        self._remember_log()

    def _make_log_writable(self) -> None:
        """Give the log and its index the mode of the file: created while it was read-only, they would stay so."""
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(self._path + suffix).chmod(Path(self._path).stat().st_mode & 0o777)

    def _remember_log(self) -> None:
        """Record the identities of the log and its index, which stay while a connection is open."""
        for suffix in SUFFIXES:
            if suffix not in self._files and (identity := _identity(self._path + suffix)) is not None:
                self._files[suffix] = identity

    def _forget_log(self) -> None:
        """Accept a new log: SQLite removes it with the last connection, and creates one with the first."""
        self._files = {"": self._files[""]}

    def _recover_log(self) -> None:
        """Continue with a new log if the old one was removed and nothing in it is missing.

        Another process removes the log when it believes to be the last one with the database open. That happens when
        this program has read and closed the file itself, which dropped SQLite's locks. That process first copies the
        log into the database; nothing else that removes the log does.
        """
        if not self._is_log_removed():
            return
        connections = sum(database.path == self._path for database in databases())
        if connections > 1 + len(self._idle):  # a stream or another store has it open
            self._check_in_place()  # SQLite would continue with the index of the old log
        if self.config.read_without_log(_CONTENT) == self._writer.run(_CONTENT):
            self._reopen()

    def _check_in_place(self) -> None:
        """Raise StoreConnectionError if a file was moved: nobody else could see what is written."""
        for suffix in self._moved():
            raise StoreConnectionError(
                f"store {self.config.store!r} lost {self._path + suffix!r}, which was removed or replaced while it was "
                "open: call disconnect() and connect() to continue with what is there now"
            )

    def _is_log_removed(self) -> bool:
        return set(self._moved()) == {"-wal", "-shm"}

    def _moved(self) -> list[str]:
        """Return the suffixes of the files that are no longer the ones that were opened."""
        return [suffix for suffix, identity in self._files.items() if _identity(self._path + suffix) != identity]

    def _close_readers(self, *, keep: int = 0) -> None:
        with contextlib.suppress(IndexError):  # another thread may have taken the last one
            while len(self._idle) > keep:
                self._idle.pop().close()


class _Holder:
    """The holder of a lease for the duration of a call."""


class SnapshotReader:
    """A reader of the database as of its first read, with a connection of its own until it is closed."""

    def __init__(self, database: FileDatabase) -> None:
        self._database = database
        self._connection: DatabaseConnection | None = database.acquire_reader()
        self._closing = Once()

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement. Raises StoreConnectionError after the close."""
        connection = self._connection
        if connection is None:
            raise StoreConnectionError("the snapshot is closed: open the value or the query anew")
        if not connection.in_transaction:
            connection.run("BEGIN")
        return connection.run(statement, *parameters)

    def close(self) -> None:
        """Release the connection. Any thread may call this, any number of times."""
        if self._closing.take() and (connection := self._connection) is not None:
            self._connection = None
            self._database.release_reader(connection)


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and the inode of a file, or None if it does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116 (names need not be UTF-8)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
