"""A store in a SQLite database, in a file or in memory."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from encore_events.abstract import BaseEventManager
from encore_storage.core import Change
from encore_storage.errors import InvalidKeyError, KeyNotFoundError, StoreConnectionError, TransactionError
from encore_storage.metadata import Metadata
from encore_storage.store import AbstractStore, AnyPath
from encore_storage.stores.sqlite_connection import ForkedError, Row
from encore_storage.stores.sqlite_database import MEMORY, Database, FileDatabase, Latest, MemoryDatabase, Reading, Snapshot
from encore_storage.stores.sqlite_stream import ROW_SIZE, ChunkStream, regrouped
from encore_storage.transactions import TransactionState
from encore_storage.value import Entry


class SqliteStore(AbstractStore):
    """Values in a SQLite database, with transactions that survive a power loss; of any size, in bounded memory.

    Several threads and processes may use it. One writes at a time, and the others wait for it; readers don't wait,
    and see what is committed. A file database can be used in a forked child, too.

    >>> from encore_events import EventManager
    >>> store = SqliteStore(event_manager=EventManager())
    >>> store.from_bytes("greeting", b"hello")
    >>> store.to_bytes("greeting")
    b'hello'

    Args:
        location: the path of the database, made if there is none; or ':memory:' for one of at most 1 GiB that is gone
            with the store.
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
        self._is_putting = False
        self._connect()

    def info(self) -> dict[str, Any]:
        """What kind of store it is: name, backend, transactional, readonly."""
        is_readonly = self._location != MEMORY and not os.access(self._location, os.W_OK)
        return {**super().info(), "readonly": is_readonly}

    def _lookup(self, key: str) -> Entry:
        rows = self._select("SELECT size, metadata, created, modified, blob FROM entry WHERE key = ?", key)
        if not rows:
            raise KeyNotFoundError(key, self.name)
        [(size, metadata, created, modified, blob)] = rows
        return Entry(size, json.loads(metadata), created, modified, blob)

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        if start >= end:
            return iter(())
        fits_a_row = start // ROW_SIZE == (end - 1) // ROW_SIZE
        return ChunkStream(Latest(self._select) if fits_a_row else self._reading(), key, self.name, entry, start, end)

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        rows = regrouped(chunks or ())
        first = next(rows, b"")  # so no small value has its source read while others wait for their turn
        with self._writing():
            blob = secrets.randbits(63)  # never the same again: who looks for replaced bytes finds none
            size = self._insert(blob, first, rows)
            return self._replace(key, None if chunks is None else (blob, size), metadata)

    def _remove(self, key: str) -> Metadata:
        with self._writing():
            entry = self._lookup(key)
            self._database.write("DELETE FROM entry WHERE key = ?", key)
            self._database.write("DELETE FROM chunk WHERE blob = ?", entry.token)
            return entry.metadata
