"""A database in a file: connections, and what is read while others write."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path

from encore_storage.errors import StoreConnectionError, StoreReadOnlyError
from encore_storage.stores.open_databases import SUFFIXES, count_open
from encore_storage.stores.sqlite.connection import Connection, Place, Row
from encore_storage.stores.sqlite.database import Database
from encore_storage.transactions.turn import Lease, Turn

# FULL: the commits that were told survive a power loss; fullfsync does the same on macOS. The limit cuts
# the log down again after a large transaction.
_SETTINGS = ("synchronous = FULL", "fullfsync = ON", "journal_size_limit = 67108864")

_MOST_IDLE = 8

_CONTENT = "SELECT key, metadata, modified, blob FROM entry ORDER BY key"


def may_write(path: str) -> bool:
    """Whether the process may write to the file, as the user that it acts for."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


class FileDatabase(Database):
    """A database in a file, with a write-ahead log: who reads and who writes don't wait for each other.

    Args:
        path: of the file, absolute.
        store: the name of the store.
        timeout: how many seconds to wait for another process; None for as long as it takes.
        turn: that of the store, taken by whoever writes.
    """

    def __init__(self, path: str, store: str, timeout: float | None, turn: Turn) -> None:
        """Open the file, or make it."""
        self._path = path
        self._turn = turn
        self._idle: deque[Connection] = deque()
        self._is_closed = False
        super().__init__(Place(store, path, f"{Path(path).as_uri()}?", "wal", _SETTINGS, timeout, path))
        self._files = {"": _identity(path)}
        self._remember_log()

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
        if self._writer.is_closed:  # before a fork, or since opening it anew has failed
            self._reopen()
        if self._moved():  # one look at the files, where nothing is wrong
            self._recover_log()
            self._check_in_place()
        try:
            super().begin()
        except StoreReadOnlyError:
            self._reopen()
            super().begin()

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            StoreConnectionError: the file or its log is not what it was when it was opened.
            TransactionAbortedError: SQLite has ended the transaction.
        """
        self._check_in_place()
        super().commit()

    def close_idle(self, *, writer: bool) -> None:
        """Close the connections that nobody uses; they are opened anew when they are needed.

        Args:
            writer: whether the one that writes is among them, since the caller has the turn.
        """
        if writer:
            self._writer.close()
            self._forget_log()
        self._close_idle()

    def close(self) -> None:
        """Close the connections; those that are in use are closed when they are given back."""
        self._is_closed = True
        self._writer.close()
        self._close_idle()

    def take(self) -> Connection:
        """A connection to read with, for the caller alone."""
        if self._is_closed:
            raise StoreConnectionError(f"store {self.place.store!r} is disconnected: call connect() first")
        try:
            return self._idle.pop()
        except IndexError:
            return self._open_to_read()

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next reader, or close it. Takes no lock: a finalizer may call it."""
        if connection.in_transaction and not connection.is_inherited:
            connection.run("ROLLBACK")
        self._idle.append(connection)
        self._close_idle(keep=0 if self._is_closed else _MOST_IDLE)

    def _open_to_read(self) -> Connection:
        if self._is_log_removed():  # looked at before SQLite goes on with the index of the old one
            self._recover_if_nobody_writes()
        connection = Connection(self.place)
        try:
            self._check_in_place()
        except BaseException:
            connection.close()
            raise
        self._remember_log()
        return connection

    def _recover_if_nobody_writes(self) -> None:
        reader = _Reader()
        lease = Lease(reader)
        try:
            if self._turn.take_if_free(lease):
                self._recover_log()
        finally:
            self._turn.free(lease)
        self._check_in_place()

    def _reopen(self) -> None:
        """Open the writer anew. The readers go first: connections share the log's index, which may be read-only."""
        self._writer.close()
        self._close_idle()
        self._forget_log()
        if may_write(self._path):
            self._open_log()
        self._check_in_place()
        self._writer = Connection(self.place)
        self._remember_log()

    def _open_log(self) -> None:
        """Give the log and its index the file's mode: made while that was read-only, they would stay so."""
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(self._path + suffix).chmod(Path(self._path).stat().st_mode & 0o777)

    def _remember_log(self) -> None:
        """Note which files are the log and its index, as long as a connection keeps them."""
        for suffix in SUFFIXES:
            if suffix not in self._files and (identity := _identity(self._path + suffix)) is not None:
                self._files[suffix] = identity

    def _forget_log(self) -> None:
        """Let the log be another one: SQLite removes it with the last connection, and makes it anew with the first."""
        self._files = {"": self._files[""]}

    def _recover_log(self) -> None:
        """Go on with a new log, if the old one was removed and nothing that it held is missing.

        Another process removes it when it takes itself for the last one that has the database open: because this
        program has read the file by itself, and closed it, which dropped the locks. It has moved everything into the
        database before. Whatever else has removed the log has not.
        """
        if not self._is_log_removed():
            return
        if count_open(self._path) > 1 + len(self._idle):  # by a stream, or another store
            self._check_in_place()  # SQLite would go on with the index of the old log
        if self.place.read_without_log(_CONTENT) == self._writer.run(_CONTENT):
            self._reopen()

    def _check_in_place(self) -> None:
        """Refuse to go on with files that nobody else can see. Raises StoreConnectionError."""
        for suffix in self._moved():
            raise StoreConnectionError(
                f"store {self.place.store!r} lost {self._path + suffix!r}: it was removed or replaced while it was "
                "open, and nothing that is written would be kept; call disconnect() and connect() to go on with "
                "what is there now"
            )

    def _is_log_removed(self) -> bool:
        return set(self._moved()) == {"-wal", "-shm"}

    def _moved(self) -> list[str]:
        """Return the suffixes of the files that are not those that were opened."""
        return [suffix for suffix, identity in self._files.items() if _identity(self._path + suffix) != identity]

    def _close_idle(self, *, keep: int = 0) -> None:
        with contextlib.suppress(IndexError):  # taken meanwhile
            while len(self._idle) > keep:
                self._idle.pop().close()


class _Reader:
    """The holder of a reader's turn, gone with the call that has made it."""


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


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and the inode of a file, or None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (names need not be UTF-8)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
