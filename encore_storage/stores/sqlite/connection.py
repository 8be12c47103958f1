"""A connection to SQLite that waits for other processes and raises the errors of a store."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from encore_events import forks
from encore_events.owner import here
from encore_storage.errors import (
    IntegrityError,
    StoreConnectionError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    TransactionTimeoutError,
)
from encore_storage.stores.open_databases import databases, register, unregister
from encore_storage.stores.sqlite.inherited_files import inherited_files
from encore_storage.transactions.turn import carried_leases

Row = tuple[Any, ...]
Run = Callable[..., list[Row]]
"""A function that runs a statement with parameters and returns all rows."""

APPLICATION_ID: Final = 0x656E6372  # "encr": distinguishes our databases from those of other applications
LAYOUT: Final = 1

# Chunks have rowids: WITHOUT ROWID, a search reads every row it passes in full, a mebibyte each.
_SCHEMA = (
    """
    CREATE TABLE entry (
        key TEXT PRIMARY KEY, metadata TEXT NOT NULL, size INTEGER NOT NULL,
        created REAL NOT NULL, modified REAL NOT NULL, blob INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE chunk (
        blob INTEGER, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (blob, number)
    )
    """,
    f"PRAGMA user_version = {LAYOUT}",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

# One statement, so that all values are of the same moment.
_IDENTITY = """
    SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version
"""

# SQLite ignores Ctrl-C while it waits, so it waits for short periods. Both in seconds.
_BUSY_TIMEOUT = 0.25
_PAUSE = 0.01

_Explanation = tuple[type[StoreError], str, str]
_BROKEN = (IntegrityError, "found no valid database in", "restore it from a backup, or use another path")
_READ_ONLY = (StoreReadOnlyError, "cannot write to", "check the permissions of the file and its directory")
_EXPLANATIONS: dict[int, _Explanation] = {
    sqlite3.SQLITE_CANTOPEN: (
        StoreConnectionError,
        "cannot open",
        "check that the directory exists, and that both are readable and writable",
    ),
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_FULL: (StoreFullError, "has no space left in", "free some space, or delete values"),
    sqlite3.SQLITE_IOERR: (StoreConnectionError, "cannot reach", "check the disk and the limits of this process"),
    sqlite3.SQLITE_MISUSE: (StoreConnectionError, "was disconnected from", "call connect() first"),
    sqlite3.SQLITE_NOTADB: _BROKEN,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_TOOBIG: (StoreFullError, "exceeded a size limit of", "shorten the key or the metadata"),
}
_UNEXPECTED: _Explanation = (StoreError, "failed in", "check the database")
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """The location and the settings of a database.

    Attributes:
        store: the name of the store.
        location: the database's name in error messages.
        uri: its URI for SQLite, to which the open mode is appended.
        journal: the required journal mode.
        settings: further PRAGMAs for each connection.
        timeout: seconds to wait for another process; None waits without limit.
        path: the absolute path of its file; None in memory.
    """

    store: str
    location: str
    uri: str
    journal: str
    settings: tuple[str, ...]
    timeout: float | None
    path: str | None = None

    def store_error(self, error: sqlite3.Error) -> StoreError:
        """Return the store error for an error of SQLite."""
        code = _code(error)
        if code in _BUSY:
            reason = f"another process is still writing to {self.location!r} after {self.timeout} s"
            return TransactionTimeoutError(self.store, reason)
        cls, failure, advice = _EXPLANATIONS.get(code, _UNEXPECTED)
        return cls(f"store {self.store!r} {failure} {self.location!r} ({error}): {advice}")

    def forked_error(self) -> StoreConnectionError:
        """Return the error for a forked child's use of its parent's connection."""
        return StoreConnectionError(
            f"store {self.store!r} opened {self.location!r} in the process that this one was forked from: open it here"
        )

    def read_without_log(self, statement: str) -> list[Row] | None:
        """Return all rows of a statement, reading the database file without its log; return None if that fails."""
        try:
            with contextlib.closing(sqlite3.connect(f"{self.uri}mode=ro&immutable=1", uri=True)) as database:
                return database.execute(statement).fetchall()
        except sqlite3.Error:
            return None

    def check_not_inherited(self) -> None:
        """Raise StoreConnectionError if this process has inherited an open descriptor of the database."""
        if self.path is not None and inherited_files.are_open(self.path):
            raise StoreConnectionError(
                f"store {self.store!r} cannot use {self.location!r}: this process was forked while its parent had the "
                "file open, so its writes would be lost; fork before it is opened, or while only stores have it open "
                "and none of their transactions, writes, streams and queries is in progress"
            )


class DatabaseConnection:
    """A connection of one process, which any thread may use, one at a time.

    Attributes:
        path: the absolute path of the database.
        store: the name of the store that has it open.
        writing_thread: the token of the thread that began the latest transaction.

    Raises:
        IntegrityError: the file is not a database, or belongs to another application.
        StoreConnectionError: the database cannot be opened.
    """

    def __init__(self, config: DatabaseConfig, *, create: bool = False) -> None:
        self._config = config
        self.path = config.path or config.location
        self.store = config.store
        self._process = forks.this_process()
        self.is_closed = True
        self.writing_thread: object = None
        config.check_not_inherited()
        try:
            self._raw = sqlite3.connect(
                f"{config.uri}mode={'rwc' if create else 'rw'}",
                uri=True,
                timeout=min(_BUSY_TIMEOUT, math.inf if config.timeout is None else config.timeout),
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise config.store_error(error) from error
        self.is_closed = False
        if config.path is not None:
            forks.renew_in_child(self, DatabaseConnection._abandon)
            register(self)
        try:
            self._prepare(create=create)
        except BaseException:
            self.close()
            raise

    @property
    def in_transaction(self) -> bool:
        """True if a transaction is open. SQLite itself may end one, as it does when the disk is full."""
        return not self.is_closed and self._raw.in_transaction

    @property
    def is_inherited(self) -> bool:
        """True if the connection belongs to the process that this one was forked from."""
        return self._process is not forks.this_process()

    def run(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement, so that none stays pending. Raises StoreError.

        Retry while another process holds the lock, until the configured timeout.
        """
        if self._process is not forks.this_process():
            raise self._config.forked_error()
        timeout = self._config.timeout
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self._raw.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY or time.monotonic() >= deadline:
                    raise self._config.store_error(error) from error
            time.sleep(_PAUSE)

    def begin(self) -> None:
        """Begin a write transaction. Raises TransactionTimeoutError, at once if this thread is in the other one."""
        self._check_can_wait()
        self.writing_thread = here.token
        self.run("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close the connection. In a forked child, leave it alone."""
        if self.is_closed:
            return
        self.is_closed = True
        if not self.is_inherited:
            self._raw.close()
            unregister(self)

    def __del__(self) -> None:
        """Close a connection that an interrupt has left open."""
        self.close()

    def _check_can_wait(self) -> None:
        """Raise TransactionTimeoutError if another store's write to the database has to wait for this thread."""
        threads = [here.token, *(lease.owner.thread for lease in carried_leases() if lease.is_open)]
        for other in databases():
            is_writing = (
                isinstance(other, DatabaseConnection) and other.writing_thread in threads and other.in_transaction
            )
            if is_writing and _is_same_file(other.path, self.path):
                raise TransactionTimeoutError(
                    self.store,
                    f"store {other.store!r} is writing to the same database, and cannot go on before this call returns",
                )

    def _abandon(self) -> None:
        """Leak SQLite's connection: closing it in a child would break the locks and the log of the parent."""
        if self.is_closed:
            return
        import ctypes  # noqa: PLC0415 (needed in few children)

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._raw))  # else it would be closed when the interpreter exits

    def _prepare(self, *, create: bool) -> None:
        """Check that the database is ours or empty before changing anything in it."""
        config, is_ours = self._config, self._is_ours()
        if not is_ours and not create:
            raise IntegrityError(f"store {config.store!r} lost its database {config.location!r}: it was replaced")
        if not is_ours:
            self.run("PRAGMA page_size = 16384")  # large values take twice the time with pages of 4 KiB
        [(journal,)] = self.run(f"PRAGMA journal_mode = {config.journal}")
        if journal != config.journal:
            raise StoreConnectionError(
                f"store {config.store!r} cannot write safely to {config.location!r}, since its journal mode is "
                f"{journal!r} and not {config.journal!r}: use a local file system"
            )
        for setting in config.settings:
            self.run(f"PRAGMA {setting}")
        if not is_ours:
            self._create()

    def _is_ours(self) -> bool:
        """Return whether the schema exists; return False for an empty database. Raises IntegrityError."""
        [(application, layout, tables)] = self.run(_IDENTITY)
        if (application, layout) == (APPLICATION_ID, LAYOUT):
            return True
        location = self._config.location
        if application == APPLICATION_ID:
            raise IntegrityError(
                f"the database {location!r} has layout {layout}, and this version of Encore supports {LAYOUT}: "
                "use the version that wrote it"
            )
        if application or layout or tables:
            raise IntegrityError(f"the database {location!r} belongs to another application: use another path")
        return False

    def _create(self) -> None:
        self.begin()
        if not self._is_ours():  # another process may have created it meanwhile
            for statement in _SCHEMA:
                self.run(statement)
        self.run("COMMIT")


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary error code. Python's own errors have none: they mean that the connection is closed."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _is_same_file(path: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(path, other)  # noqa: PTH121 (names need not be UTF-8)
    return False
