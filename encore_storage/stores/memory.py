"""A store in the memory of the process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import ClassVar

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_storage.errors import KeyNotFoundError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.fingerprints import Fingerprint, put_copy
from encore_storage.streams import DataChunks
from encore_storage.transactions.runs import Run
from encore_storage.transactions.writing import Change, Write
from encore_storage.value import Entry, ListedKey


class DictMemoryStore(AbstractStore):
    """A transactional store in a dict, which lasts as long as the process.

    >>> from encore_events import EventManager
    >>> store = DictMemoryStore(event_manager=EventManager())
    >>> store.from_bytes("greeting", b"hello")
    >>> store.to_bytes("greeting")
    b'hello'

    Args:
        name: the store's name in events, logs and metrics; by default, 'memory'.
        event_manager: where the store emits events; by default, `get_event_manager()`.
        timeout: seconds to wait for another thread's transaction; None waits without limit.

    Raises:
        TypeError: `event_manager` is not an event manager.
    """

    backend: ClassVar[str] = "memory"
    transactional: ClassVar[bool] = True

    def __init__(
        self, *, name: str | None = None, event_manager: BaseEventManager | None = None, timeout: float | None = None
    ) -> None:
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._entries: dict[str, Entry] = {}
        # The committed entries of the keys that the open transaction has changed. Each transaction, and each period
        # between two of them, has a dict of its own: a reader that finds another one afterwards reads again.
        self._undo_log: dict[str, Entry | None] = {}
        forks.renew_in_child(self, DictMemoryStore._rollback_transaction)  # the open transaction is the parent's
        self._fingerprints: dict[str, tuple[bytes, Fingerprint]] = {}  # with the bytes that each belongs to

    def _lookup(self, key: str) -> Entry:
        is_mine = self._turn.queue and self._transaction_state.mine is not None
        entry = self._entries.get(key) if is_mine else self._committed(key)
        if entry is None:
            raise KeyNotFoundError(key, self.name)
        return entry

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:  # noqa: ARG002 (the core's)
        return DataChunks(entry.token[start:end])

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        data = None if chunks is None else b"".join(chunks)
        with self._writing() as write:
            old = self._entries.get(key)
            now = time.time()
            if data is None:
                data = b"" if old is None else old.token
            if metadata is None:
                metadata = {} if old is None else old.metadata
            entry = Entry(len(data), metadata, old.created if old else now, now, data)
            change = Change(old is None, metadata)
            write.expect(change, lambda: self._entries.get(key) is entry)
            self._replace(key, entry, write)
            return change

    def _remove(self, key: str) -> Metadata:
        with self._writing() as write:
            old = self._lookup(key)
            write.expect(Change(is_new=False, metadata=old.metadata), lambda: key not in self._entries)
            self._replace(key, None, write)
            return old.metadata

    def _keys(self) -> Iterator[str]:
        return iter(self._snapshot())

    def _listing(self, prefix: str) -> Iterator[ListedKey]:
        for key, entry in self._snapshot().items():
            if key.startswith(prefix):
                yield ListedKey(key, entry.size, entry.created, entry.modified)

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        return ((key, entry.metadata) for key, entry in self._snapshot().items())

    def _begin_transaction(self) -> None:
        self._rollback_transaction()  # an earlier rollback may have failed

    def _commit_transaction(self) -> None:
        self._undo_log = {}

    def _rollback_transaction(self) -> None:
        for key, entry in self._undo_log.items():
            self._place(key, entry)
        self._undo_log = {}

    def _in_transaction(self) -> bool:
        """Return whether there is anything to roll back; an interrupt may arrive right after a commit."""
        return bool(self._undo_log)

    def _replace(self, key: str, entry: Entry | None, write: Write) -> None:
        """Replace an entry after saving the old one: readers look at the entries before the undo log."""
        if isinstance(write.part_of, Run):
            self._undo_log.setdefault(key, self._entries.get(key))
        elif self._undo_log:
            self._rollback_transaction()  # an earlier rollback has failed
        self._place(key, entry)

    def _place(self, key: str, entry: Entry | None) -> None:
        self._fingerprints.pop(key, None)
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry

    def _committed(self, key: str) -> Entry | None:
        while True:
            log = self._undo_log
            entry = log.get(key, self._entries.get(key))
            if self._undo_log is log:
                return entry

    def _snapshot(self) -> dict[str, Entry]:
        if self._transaction_state.mine is not None:
            return self._entries.copy()
        while True:
            log = self._undo_log
            entries: dict[str, Entry | None] = {**self._entries.copy(), **log.copy()}
            if self._undo_log is log:
                return {key: entry for key, entry in entries.items() if entry is not None}

    def _fingerprint(self, key: str) -> Fingerprint | None:
        data = self._lookup(key).token
        return [len(data), hashlib.blake2b(data).hexdigest()]

    _put_copy = put_copy

    def _attach_fingerprint(self, key: str, fingerprint: Fingerprint) -> None:
        self._fingerprints[key] = (self._lookup(key).token, fingerprint)

    def _keep_fingerprint(self, key: str, own: Fingerprint, fingerprint: Fingerprint | None) -> None:
        with self._writing():
            self._fingerprints.pop(key, None)
            if fingerprint is not None and self._fingerprint(key) == own:
                self._attach_fingerprint(key, fingerprint)

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:
        data, fingerprint = self._fingerprints.get(key, (None, None))
        return fingerprint if self._lookup(key).token is data else None
