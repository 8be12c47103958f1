"""A store in a SQLite database, in a file or in memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_events.owner import here
from encore_storage.errors import InvalidKeyError, KeyNotFoundError, StoreConnectionError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.fingerprints import Fingerprint
from encore_storage.stores.local_files import AnyPath
from encore_storage.stores.sqlite import fingerprints
from encore_storage.stores.sqlite.connection import Row
from encore_storage.stores.sqlite.database import Database
from encore_storage.stores.sqlite.file_database import FileDatabase, Snapshot, may_write
from encore_storage.stores.sqlite.memory_database import MEMORY, MemoryDatabase
from encore_storage.stores.sqlite.stream import ROW_SIZE, ChunkStream, Latest, Reading, regrouped
from encore_storage.transactions.turn import Lease
from encore_storage.transactions.writing import Change, Write
from encore_storage.value import Entry

_PAGE = 256


class SqliteStore(AbstractStore):
    """Values of any size in a SQLite database, with transactions; what a file was told to keep survives a power loss.

    Threads and processes may share it: one writes at a time, and the others wait for it. Readers don't wait, and see
    what is committed. A child that was forked may use the store of its parent, unless it is in memory, or something was
    under way with it at the fork.

    >>> from encore_events import EventManager
    >>> store = SqliteStore(event_manager=EventManager())
    >>> store.from_bytes("greeting", b"hello")
    >>> store.to_bytes("greeting")
    b'hello'

    Args:
        location: the path of the database, made if there is none; or ':memory:' for one of at most 1 GiB, which is
            there for as long as the store is.
        name: what events, logs and metrics call it.
        event_manager: where it emits; by default, `get_event_manager()`.
        timeout: how many seconds a thread waits for the transaction of another thread or process; None for as long
            as it takes.

    Raises:
        IntegrityError: the file is no database, or that of another application.
        StoreConnectionError: the file can't be opened.
    """

    backend: ClassVar[str] = "sqlite"
    transactional: ClassVar[bool] = True

    def __init__(
        self,
        location: AnyPath = MEMORY,
        *,
        name: str | None = None,
        event_manager: BaseEventManager | None = None,
        timeout: float | None = None,
    ) -> None:
        """Open the database, or make it."""
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._location = _absolute(os.fspath(location))
        self._forking: dict[object, Lease] = {}  # by the token of the thread that is about to fork
        self._open_database()
        if self._location != MEMORY:
            forks.around_forks(self, SqliteStore._before_fork, SqliteStore._after_fork)
            forks.renew_in_child(self, SqliteStore._after_fork)

    def info(self) -> dict[str, Any]:
        """What kind of store it is: name, backend, transactional, readonly."""
        readonly = self._location != MEMORY and not may_write(self._location)
        return {**super().info(), "readonly": readonly}

    def _lookup(self, key: str) -> Entry:
        entry = self._find(key)
        if entry is None:
            raise KeyNotFoundError(key, self.name)
        return entry

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        if start >= end:
            return iter(())
        is_one_row = start // ROW_SIZE == (end - 1) // ROW_SIZE
        reading = Latest(self._select) if is_one_row else self._reading()
        return ChunkStream(reading, key, self.name, entry, start, end)

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        rows = regrouped(chunks or ())
        first = next(rows, b"")  # the source of a small value is read before anyone has to wait for it
        with self._writing() as write:
            blob, size = self._insert(itertools.chain([first], rows))
            now = time.time()
            found = self._find(key)
            old = found or Entry(0, {}, now, now, blob)
            if chunks is None:
                blob, size = old.token, old.size
            if metadata is None:
                metadata = old.metadata
            if blob != old.token:
                self._database.write("DELETE FROM chunk WHERE blob = ?", old.token)
            self._database.write(
                "REPLACE INTO entry (key, metadata, size, created, modified, blob) VALUES (?, ?, ?, ?, ?, ?)",
                *(key, json.dumps(metadata), size, old.created, now, blob),
            )
            write.expect(change := Change(found is None, metadata))
            return change

    def _remove(self, key: str) -> Metadata:
        with self._writing() as write:
            old = self._lookup(key)
            write.expect(Change(is_new=False, metadata=old.metadata))
            self._database.write("DELETE FROM chunk WHERE blob = ?", old.token)
            self._database.write("DELETE FROM entry WHERE key = ?", key)
            return old.metadata

    def _keys(self) -> Iterator[str]:
        return (key for (key,) in self._scan("SELECT key FROM entry"))

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        return ((key, json.loads(metadata)) for key, metadata in self._scan("SELECT key, metadata FROM entry"))

    def _check_key(self, key: str) -> None:
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise InvalidKeyError(key, "half of a surrogate pair has no UTF-8") from error

    def _begin_writing(self, write: Write) -> None:
        """Begin a transaction, or a part of the one that the caller is in that may be undone by itself."""
        database = self._database
        if write.part_of is None:
            database.begin()
        else:
            write.mark = savepoint = database.new_savepoint()
            database.save(savepoint)

    def _end_writing(self, write: Write, *, keep: bool) -> None:
        database = self._opened
        if write.part_of is None:
            (database.commit if keep else database.rollback)()
        elif isinstance(write.mark, str):
            (database.release if keep else database.undo)(write.mark)

    def _has_kept(self, write: Write) -> bool:
        database = self._opened
        if write.part_of is None:
            return database.has_committed()
        return isinstance(write.mark, str) and database.in_transaction and not database.undo(write.mark)

    def _connect(self) -> None:
        if self._location != MEMORY:
            self._open_database()

    def _disconnect(self) -> None:
        if self._location != MEMORY:
            self._close_database()

    def _begin_transaction(self) -> None:
        self._database.begin()

    def _commit_transaction(self) -> None:
        self._database.commit()

    def _rollback_transaction(self) -> None:
        self._database.rollback()

    def _in_transaction(self) -> bool:
        return self._database.in_transaction

    @property
    def _database(self) -> Database:
        """The open database; a forked child opens its own."""
        self._check_connected()
        if self._opened.process is not forks.this_process():
            if self._location == MEMORY:
                raise self._opened.place.forked()
            self._close_database()
            self._open_database()
        return self._opened

    def _before_fork(self) -> None:
        """Close the connections that nobody uses, and keep them closed until the fork is over."""
        if isinstance(self._opened, FileDatabase):
            turn = self._turn
            lease = Lease(self)
            if turn.take_if_free(lease):
                self._forking[here.token] = lease
            self._opened.close_idle(writer=here.token in self._forking)

    def _after_fork(self) -> None:
        """Let others write again, in the parent and in the child."""
        lease = self._forking.pop(here.token, None)
        if lease is not None:
            turn = self._turn
            turn.free(lease)
            turn.leave_inherited(lease)

    def _open_database(self) -> None:
        if self._location == MEMORY:
            self._opened: Database = MemoryDatabase(self.name)
        else:
            self._opened = FileDatabase(self._location, self.name, self.timeout, self._turn)
        self._close_database = weakref.finalize(self, self._opened.close)

    def _is_writing(self) -> bool:
        return self._turn.is_mine and self._database.in_transaction

    def _select(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what the caller's transaction has written or else of what is committed."""
        return (self._database.write if self._is_writing() else self._database.read)(statement, *parameters)

    def _reading(self) -> Reading:
        """Something to read from for a while: a snapshot, where it keeps nobody from writing."""
        database = self._database
        if isinstance(database, FileDatabase) and not self._is_writing():
            return Snapshot(database)
        return Latest(self._select)

    def _find(self, key: str) -> Entry | None:
        rows = self._select("SELECT size, metadata, created, modified, blob FROM entry WHERE key = ?", key)
        for size, metadata, created, modified, blob in rows:
            return Entry(size, json.loads(metadata), created, modified, blob)
        return None

    def _insert(self, rows: Iterable[bytes | bytearray]) -> tuple[int, int]:
        """Keep the bytes of a value; give the number of the blob, which no other ever has, and its size."""
        blob, size = secrets.randbits(63), 0
        for number, row in enumerate(filter(None, rows)):
            self._database.write("INSERT INTO chunk (blob, number, data) VALUES (?, ?, ?)", blob, number, row)
            size += len(row)
        return blob, size

    def _scan(self, select: str) -> Iterator[Row]:
        """The rows of the entries in the order of their keys, read by the page so that no statement stays open."""
        with contextlib.closing(self._reading()) as reading:
            start = ""
            while page := reading.read(f"{select} WHERE key >= ? ORDER BY key LIMIT {_PAGE}", start):
                yield from page
                start = page[-1][0] + "\0"  # the next key that there can be

    def _fingerprint(self, key: str) -> Fingerprint | None:
        entry = self._lookup(key)
        return [entry.token, entry.size]

    def _put_copy(
        self,
        key: str,
        chunks: Iterable[bytes],
        metadata: Metadata | None,
        fingerprint: Callable[[], Fingerprint | None],
    ) -> Change:
        with self._writing():
            change = self._put(key, chunks, metadata)
            kept = fingerprint()
            if kept is not None:
                fingerprints.save(self._database.write, self._lookup(key).token, kept)
            return change

    def _keep_fingerprint(self, key: str, own: Fingerprint, fingerprint: Fingerprint | None) -> None:
        with self._writing():
            found = self._find(key)
            if found is None or [found.token, found.size] != own:
                return
            if fingerprint is None:
                fingerprints.remove(self._database.write, found.token)
            else:
                fingerprints.save(self._database.write, found.token, fingerprint)

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:
        return fingerprints.load(self._select, self._lookup(key).token)


def _absolute(location: str) -> str:
    """The path, wherever the program changes its directory to. Raises StoreConnectionError."""
    if not location or "\0" in location:
        raise StoreConnectionError(f"{location!r} is no path of a database: give one, or {MEMORY!r}")
    return location if location == MEMORY else os.path.abspath(location)  # noqa: PTH100 (Path doesn't resolve '..')
