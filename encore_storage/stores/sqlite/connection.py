"""One connection with SQLite: opened with care, patient with other processes, and its errors those of a store."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
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
from encore_storage.stores.open_databases import closed, databases, opened
from encore_storage.stores.sqlite.inherited_files import inherited_files
from encore_storage.transactions.turn import carried_leases

Row = tuple[Any, ...]

APPLICATION_ID: Final = 0x656E6372  # "encr": tells a database of ours from anyone else's
LAYOUT: Final = 1

# The chunks have rowids: without, a search reads all of each row that it passes, which is a mebibyte.
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

# One statement, so that all of it is of one moment.
_IDENTITY = """
    SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version
"""

# SQLite waits without looking for Ctrl-C, so it waits in pieces.
_PATIENCE = 0.25
_PAUSE = 0.01

_Explained = tuple[type[StoreError], str, str]
_BROKEN: _Explained = (IntegrityError, "finds no sound database in", "restore it from a backup, or use another path")
_READ_ONLY: _Explained = (StoreReadOnlyError, "may not write to", "see who may write to the file and its directory")
_EXPLAINED: dict[int, _Explained] = {
    sqlite3.SQLITE_CANTOPEN: (
        StoreConnectionError,
        "cannot open",
        "see that the directory exists, and that both may be read and written",
    ),
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_FULL: (StoreFullError, "has no room left in", "make room, or delete what is not needed"),
    sqlite3.SQLITE_IOERR: (StoreConnectionError, "cannot reach", "see to the disk, and to the limits set for it"),
    sqlite3.SQLITE_MISUSE: (StoreConnectionError, "was disconnected from", "call connect() first"),
    sqlite3.SQLITE_NOTADB: _BROKEN,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_TOOBIG: (StoreFullError, "cannot hold so much in", "shorten the key or the metadata"),
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is, and how it is to be kept.

    Attributes:
        store: the name of the store that wants it.
        location: what the user calls it.
        uri: what SQLite calls it; the way to open it is appended.
        journal: the journal mode that it has to have.
        settings: more PRAGMAs, for each connection.
        timeout: how many seconds to wait for another process; None for as long as it takes.
        path: the absolute path of its file; None in memory.
    """

    store: str
    location: str
    uri: str
    journal: str
    settings: tuple[str, ...]
    timeout: float | None
    path: str | None = None

    def explained(self, error: sqlite3.Error) -> StoreError:
        """The error of a store that an error of SQLite is, in a sentence that says what to do."""
        code = _code(error)
        if code in _BUSY:
            return TransactionTimeoutError(
                self.store, f"another process is writing to {self.location!r}, and was awaited for {self.timeout} s"
            )
        cls, what, advice = _EXPLAINED.get(code, (StoreError, "failed in", "this is SQLite's own word for it"))
        return cls(f"store {self.store!r} {what} {self.location!r} ({error}): {advice}")

    def forked(self) -> StoreConnectionError:
        """Return the error of using in a forked child what its parent has opened."""
        return StoreConnectionError(
            f"store {self.store!r} has {self.location!r} open in the process that this one was forked from: "
            "open it anew here"
        )

    def read_without_log(self, statement: str) -> list[Row] | None:
        """Return all rows of a statement, of what is in the database itself and not only in its log, or None."""
        try:
            with contextlib.closing(sqlite3.connect(f"{self.uri}mode=ro&immutable=1", uri=True)) as database:
                return database.execute(statement).fetchall()
        except sqlite3.Error:
            return None

    def check_not_inherited(self) -> None:
        """Refuse a database of which this process has inherited an open descriptor. Raises StoreConnectionError."""
        if self.path is not None and inherited_files.are_open(self.path):
            raise StoreConnectionError(
                f"store {self.store!r} cannot use {self.location!r} here: the process that this one was forked from "
                "had it open at that moment, and what is written here would be lost; fork before it is opened, or "
                "while no transaction, write, stream or query of it is under way and nothing but stores has it open"
            )


class Connection:
    """A connection that knows whose process it is; any thread may use it, one at a time.

    Args:
        place: where the database is.
        create: make the database if there is none.

    Attributes:
        writing_thread: the token of the thread that began the transaction, if one is open.

    Raises:
        IntegrityError: it is no database, or one of something else.
        StoreConnectionError: it can't be opened.
    """

    def __init__(self, place: Place, *, create: bool = False) -> None:
        """Open the connection; see the class."""
        self._place = place
        self._process = forks.this_process()
        self.is_closed = True
        self.writing_thread: object = None
        place.check_not_inherited()
        try:
            self._raw = sqlite3.connect(
                f"{place.uri}mode={'rwc' if create else 'rw'}",
                uri=True,
                timeout=min(_PATIENCE, math.inf if place.timeout is None else place.timeout),
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise place.explained(error) from error
        self.is_closed = False
        if place.path is not None:
            forks.renew_in_child(self, Connection._abandon)
            opened(self)
        try:
            self._prepare(create=create)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The absolute path of the database."""
        return self._place.path or self._place.location

    @property
    def store(self) -> str:
        """The name of the store that has it open."""
        return self._place.store

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite may have ended it by itself, as it does when a disk is full."""
        return not self.is_closed and self._raw.in_transaction

    @property
    def is_inherited(self) -> bool:
        """Whether it belongs to the process that this one was forked from."""
        return self._process is not forks.this_process()

    def run(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, so that none is left pending. Raises StoreError.

        While another process is in the way it is tried again, for as long as the place allows.
        """
        if self.is_inherited:
            raise self._place.forked()
        deadline = self._deadline()
        while True:
            try:
                return self._raw.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY or time.monotonic() >= deadline:
                    raise self._place.explained(error) from error
            time.sleep(_PAUSE)

    def begin(self) -> None:
        """Begin a transaction that writes.

        Raises:
            TransactionTimeoutError: another one did not end in time, or can't end as long as this thread waits.
        """
        self._refuse_to_wait_in_vain()
        self.writing_thread = here.token
        self.run("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close it; in a forked child, only leave it alone."""
        if self.is_closed:
            return
        self.is_closed = True
        if not self.is_inherited:
            self._raw.close()
            closed(self)

    def __del__(self) -> None:
        """Close what an interrupt has left open, or leave it alone in a forked child."""
        self.close()

    def _refuse_to_wait_in_vain(self) -> None:
        """Refuse to wait for another store of the database that cannot go on as long as this thread waits."""
        threads = [here.token, *(lease.owner.thread for lease in carried_leases() if lease.is_open)]
        for other in databases():
            is_writing = isinstance(other, Connection) and other.writing_thread in threads and other.in_transaction
            if is_writing and _is_same_file(other.path, self.path):
                raise TransactionTimeoutError(
                    self.store,
                    f"store {other.store!r} is writing to the same database, and cannot go on before this call ends",
                )

    def _abandon(self) -> None:
        """Keep SQLite's connection for ever: to close it in a child would break the locks and the log of the parent."""
        if self.is_closed:
            return
        import ctypes  # noqa: PLC0415 (needed in few children)

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._raw))  # or it would be closed at the end of the interpreter

    def _deadline(self) -> float:
        return math.inf if self._place.timeout is None else time.monotonic() + self._place.timeout

    def _prepare(self, *, create: bool) -> None:
        """Look whose database it is before anything in it is changed."""
        is_ours = self._is_ours()
        if not is_ours and not create:
            raise IntegrityError(f"the database {self._place.location!r} of store {self._place.store!r} was taken away")
        if not is_ours:
            self.run("PRAGMA page_size = 16384")  # with pages of 4 KiB large values take twice the time
        [(journal,)] = self.run(f"PRAGMA journal_mode = {self._place.journal}")
        if journal != self._place.journal:
            raise StoreConnectionError(
                f"store {self._place.store!r} cannot keep {self._place.location!r} safe: its journal is {journal!r} "
                f"where it has to be {self._place.journal!r}; use a file system of this machine"
            )
        for setting in self._place.settings:
            self.run(f"PRAGMA {setting}")
        if not is_ours:
            self._create()

    def _is_ours(self) -> bool:
        """Whether the schema is there, or else nothing at all. Raises IntegrityError."""
        [(application, layout, tables)] = self.run(_IDENTITY)
        if (application, layout) == (APPLICATION_ID, LAYOUT):
            return True
        if application == APPLICATION_ID:
            raise IntegrityError(
                f"the database {self._place.location!r} has layout {layout}, and this version of Encore knows "
                f"{LAYOUT}: use the version that wrote it"
            )
        if application or layout or tables:
            raise IntegrityError(
                f"the database {self._place.location!r} belongs to another application, so store "
                f"{self._place.store!r} leaves it alone: use another path"
            )
        return False

    def _create(self) -> None:
        self.begin()
        if not self._is_ours():  # or else another process was faster
            for statement in _SCHEMA:
                self.run(statement)
        self.run("COMMIT")


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code; that of a misuse for what Python finds, which is that the connection is closed."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _is_same_file(path: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(path, other)  # noqa: PTH121 (names need not be UTF-8)
    return False
