"""A store in an SQLite database, in a file or in memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_events.owner import here
from encore_storage.errors import InvalidKeyError, KeyNotFoundError, StoreConnectionError, TransactionError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.fingerprints import Fingerprint, put_copy
from encore_storage.stores.items import Item, Items
from encore_storage.stores.local_files import AnyPath
from encore_storage.stores.sqlite import fingerprints
from encore_storage.stores.sqlite.conditions import EVERY_ROW, Condition, condition_of
from encore_storage.stores.sqlite.connection import Row, Run
from encore_storage.stores.sqlite.database import Database
from encore_storage.stores.sqlite.file_database import FileDatabase, SnapshotReader, may_write
from encore_storage.stores.sqlite.memory_database import MEMORY, MemoryDatabase
from encore_storage.stores.sqlite.stream import ROW_SIZE, ChunkStream, LiveReader, RowReader, regrouped
from encore_storage.streams import DataChunks
from encore_storage.transactions.turn import Lease
from encore_storage.transactions.writing import Change, Write
from encore_storage.value import Entry, ListedKey

_PAGE = 256


class SqliteStore(AbstractStore):
    """A transactional store in an SQLite database, for values of any size.

    Commits to a file survive a power loss. Threads and processes may share the database: one writes at a time, and the
    others wait. Readers don't wait, and see committed data. A forked child may use its parent's store, unless the
    database is in memory or was in use at the fork.

    >>> from encore_events import EventManager
    >>> store = SqliteStore(event_manager=EventManager())
    >>> store.from_bytes("greeting", b"hello")
    >>> store.to_bytes("greeting")
    b'hello'

    Args:
        location: the path of the database, created if it does not exist; or ':memory:' for a database of at most 1 GiB
            that lasts as long as the store.
        name: the store's name in events, logs and metrics; by default, 'sqlite'.
        event_manager: where the store emits events; by default, `get_event_manager()`.
        timeout: seconds to wait for a transaction of another thread or process; None waits without limit.

    Raises:
        IntegrityError: the file is not a database, or belongs to another application.
        StoreConnectionError: the file cannot be opened.
        StoreReadOnlyError: the file is not writable, and has to be.
        TypeError: `event_manager` is not an event manager.
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
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._location = _absolute(os.fspath(location))
        self._forking: dict[object, Lease] = {}  # by the token of the forking thread
        self._open_database()
        if self._location != MEMORY:
            forks.around_forks(self, SqliteStore._before_fork, SqliteStore._after_fork)
            forks.renew_in_child(self, SqliteStore._after_fork)

    def _arguments(self) -> dict[str, Any] | None:
        return None if self._location == MEMORY else {"location": self._location}

    def info(self) -> dict[str, Any]:
        """Return the store's name, backend, `transactional` and `readonly`."""
        readonly = self._location != MEMORY and not may_write(self._location)
        return {**super().info(), "readonly": readonly}

    def compact(self) -> None:
        """Shrink the database to the space that its values need, as the operation 'execute'.

        Other writers wait meanwhile, and readers don't. It needs free space of twice the size of the values. If a
        stream, query or other program is reading the file, it shrinks later: at the next call without readers, when
        the log is full (16 MiB), or when the last user closes the database.

        Raises:
            TransactionError: the caller is in a transaction or a write of the store.
            TransactionTimeoutError: another thread or process did not stop writing within the timeout.
            StoreFullError: there is too little space.
        """
        with self._operation("execute", None):
            self._check_connected()
            if self._turn.mine is not None:
                raise TransactionError(f"cannot compact store {self.name!r} inside its transaction: leave that first")
            with self._turn.taken():
                self._database.compact()

    def _lookup(self, key: str) -> Entry:
        entry = _find(self._select, key)
        if entry is None:
            raise KeyNotFoundError(key, self.name)
        return entry

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        if start >= end:
            return DataChunks(b"")
        is_one_row = start // ROW_SIZE == (end - 1) // ROW_SIZE
        return ChunkStream(self._live_reader if is_one_row else self._reader, key, self.name, entry, start, end)

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        rows = regrouped(chunks or ())
        first = next(rows, b"")  # a small value is read in full before others have to wait
        with self._writing() as write:
            blob, size = self._insert(itertools.chain([first], rows))
            run = self._database.write  # looked up after the source, which may have disconnected the store
            now = time.time()
            found = _find(run, key)
            old = found or Entry(0, {}, now, now, blob)
            if chunks is None:
                blob, size = old.token, old.size
            if metadata is None:
                metadata = old.metadata
            if blob != old.token:
                run("DELETE FROM chunk WHERE blob = ?", old.token)
            run(
                "REPLACE INTO entry (key, metadata, size, created, modified, blob) VALUES (?, ?, ?, ?, ?, ?)",
                *(key, json.dumps(metadata), size, old.created, now, blob),
            )
            write.expect(change := Change(found is None, metadata))
            return change

    def _remove(self, key: str) -> Metadata:
        with self._writing() as write:
            old = self._lookup(key)
            run = self._database.write
            write.expect(Change(is_new=False, metadata=old.metadata))
            run("DELETE FROM chunk WHERE blob = ?", old.token)
            run("DELETE FROM entry WHERE key = ?", key)
            return old.metadata

    def _keys(self) -> Iterator[str]:
        return (key for (key,) in self._select("SELECT key FROM entry ORDER BY key"))

    def _items(self) -> Iterator[Item]:
        return Items(self._scan_items)

    def _scan_items(self, wanted: Mapping[str, Any]) -> Iterator[Item]:
        rows = self._scan("key, metadata", where=condition_of(wanted))
        return ((key, json.loads(metadata)) for key, metadata in rows)

    def _listing(self, prefix: str) -> Iterator[ListedKey]:
        rows = self._scan("key, size, created, modified", prefix) if _is_encodable(prefix) else ()
        return itertools.starmap(ListedKey, rows)

    def _check_key(self, key: str) -> None:
        if not _is_encodable(key):
            raise InvalidKeyError(key, "UTF-8 cannot encode half of a surrogate pair")

    def _begin_writing(self, write: Write) -> None:
        """Begin a transaction, or set a savepoint in the one that the caller is in."""
        database = self._database
        if write.part_of is None:
            database.begin()
        else:
            write.mark = savepoint = _savepoint_inside(write.part_of)
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
            return not database.in_transaction
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
        """The open database. A forked child opens its own."""
        if not self._connected:
            self._check_connected()
        if self._opened.process is not forks.this_process():
            if self._location == MEMORY:
                raise self._opened.config.forked_error()
            self._close_database()
            self._open_database()
        return self._opened

    def _before_fork(self) -> None:
        """Close idle connections, and keep them closed until the fork is over."""
        if isinstance(self._opened, FileDatabase):
            lease = Lease(self)
            if self._turn.take_if_free(lease):
                self._forking[here.token] = lease
            self._opened.close_idle(writer=here.token in self._forking)

    def _after_fork(self) -> None:
        """Allow writes again, in the parent and in the child."""
        lease = self._forking.pop(here.token, None)
        if lease is not None:
            self._turn.free(lease)
            self._turn.leave_inherited(lease)

    def _open_database(self) -> None:
        if self._location == MEMORY:
            self._opened: Database = MemoryDatabase(self.name)
        else:
            self._opened = FileDatabase(self._location, self.name, self.timeout, self._turn)
        self._close_database = weakref.finalize(self, self._opened.close)

    def _is_writing(self, database: Database) -> bool:
        return bool(self._turn.queue) and self._turn.mine is not None and database.in_transaction

    def _select(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement, read in the caller's transaction if there is one."""
        database = self._database
        return (database.write if self._is_writing(database) else database.read)(statement, *parameters)

    def _reader(self) -> RowReader:
        """Return a reader for several reads: a snapshot, unless it would block writers."""
        database = self._database
        if isinstance(database, FileDatabase) and not self._is_writing(database):
            return SnapshotReader(database)
        return self._live_reader()

    def _live_reader(self) -> LiveReader:
        return LiveReader(self._select)

    def _insert(self, rows: Iterable[bytes | bytearray]) -> tuple[int, int]:
        """Insert the bytes of a value; return the blob's number, which is never reused, and its size."""
        blob, size = secrets.randbits(63), 0
        for number, row in enumerate(filter(None, rows)):
            self._database.write("INSERT INTO chunk (blob, number, data) VALUES (?, ?, ?)", blob, number, row)
            size += len(row)
        return blob, size

    def _scan(self, columns: str, prefix: str = "", where: Condition = EVERY_ROW) -> Iterator[Row]:
        """Yield the rows of the keys that exist at the first one and begin with `prefix`, in the order of the keys.

        The first column is the key. They are read in pages, so that no statement stays open. A row is read when it is
        reached, and left out if the condition `where` is not true by then.
        """
        with contextlib.closing(self._reader()) as reader:
            known = frozenset(self._keys()) if isinstance(reader, LiveReader) else None
            select = f"SELECT {columns} FROM entry WHERE key >= ? AND {where.sql} ORDER BY key LIMIT {_PAGE}"  # noqa: S608 (our own SQL)
            start: str | None = prefix
            while start is not None:
                page = reader.read(select, start, *where.parameters)
                for row in page:
                    if not row[0].startswith(prefix):
                        return
                    if known is None or row[0] in known:
                        yield row
                start = page[-1][0] + "\0" if len(page) == _PAGE else None  # the next possible key

    def _fingerprint(self, key: str) -> Fingerprint | None:
        entry = self._lookup(key)
        return [entry.token, entry.size]

    _put_copy = put_copy

    def _attach_fingerprint(self, key: str, fingerprint: Fingerprint) -> None:
        fingerprints.save(self._database.write, self._lookup(key).token, fingerprint)

    def _keep_fingerprint(self, key: str, own: Fingerprint, fingerprint: Fingerprint | None) -> None:
        with self._writing():
            found = _find(self._select, key)
            if found is not None and [found.token, found.size] == own:
                fingerprints.save(self._database.write, found.token, fingerprint)

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:
        return fingerprints.load(self._select, self._lookup(key).token)


def _savepoint_inside(lease: Lease) -> str:
    """Return a name that no open savepoint has. The names are few, so that their statements stay prepared."""
    innermost = lease.innermost
    outer = innermost.mark if isinstance(innermost, Write) else None
    return "encore" if outer is None else f"{outer}_inner"


def _find(run: Run, key: str) -> Entry | None:
    rows = run("SELECT size, metadata, created, modified, blob FROM entry WHERE key = ?", key)
    for size, metadata, created, modified, blob in rows:
        return Entry(size, json.loads(metadata), created, modified, blob)
    return None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _absolute(location: str) -> str:
    """Return the absolute path, since the program may change its directory. Raises StoreConnectionError."""
    if not location or "\0" in location:
        raise StoreConnectionError(f"{location!r} is not the path of a database: pass one, or {MEMORY!r}")
    return location if location == MEMORY else os.path.abspath(location)  # noqa: PTH100 (Path doesn't resolve '..')
