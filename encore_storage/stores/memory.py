"""A store in the memory of the process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_storage.errors import KeyNotFoundError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.fingerprints import Fingerprint
from encore_storage.transactions.runs import Run
from encore_storage.transactions.writing import Change, Write
from encore_storage.value import Entry


class DictMemoryStore(AbstractStore):
    """Values in a dict, with transactions: gone with the process.

    >>> from encore_events import EventManager
    >>> store = DictMemoryStore(event_manager=EventManager())
    >>> store.from_bytes("greeting", b"hello")
    >>> store.to_bytes("greeting")
    b'hello'

    Args:
        name: what events, logs and metrics call it.
        event_manager: where it emits; by default, `get_event_manager()`.
        timeout: how many seconds a thread waits for another thread's transaction; None for as long as it takes.
    """

    backend: ClassVar[str] = "memory"
    transactional: ClassVar[bool] = True

    def __init__(
        self,
        *,
        name: str | None = None,
        event_manager: BaseEventManager | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make an empty store."""
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._entries: dict[str, Entry] = {}
        # What those outside of the transaction see instead. Each transaction, and each time between two of
        # them, has a dict of its own, so that a reader can tell whether it was the same all the while.
        self._before: dict[str, Entry | None] = {}
        forks.renew_in_child(self, DictMemoryStore._rollback_transaction)  # what the parent was in the middle of
        self._fingerprints: dict[str, tuple[bytes, Fingerprint]] = {}  # with the bytes that they came with

    def _lookup(self, key: str) -> Entry:
        entry = self._committed(key) if self._transaction_state.mine is None else self._entries.get(key)
        if entry is None:
            raise KeyNotFoundError(key, self.name)
        return entry

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:  # noqa: ARG002 (the core's)
        data: bytes = entry.token
        return iter((data[start:end],))

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

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        return ((key, entry.metadata) for key, entry in self._snapshot().items())

    def _begin_transaction(self) -> None:
        self._rollback_transaction()  # what a rollback that failed has left

    def _commit_transaction(self) -> None:
        self._before = {}

    def _rollback_transaction(self) -> None:
        for key, entry in self._before.items():
            self._place(key, entry)
        self._before = {}

    def _in_transaction(self) -> bool:
        """Whether there is anything to roll back: an interrupt may come right after a commit."""
        return bool(self._before)

    def _replace(self, key: str, entry: Entry | None, write: Write) -> None:
        """Note what was there first, and only then replace it: a reader looks in the other order."""
        if isinstance(write.part_of, Run):
            self._before.setdefault(key, self._entries.get(key))
        elif self._before:
            self._rollback_transaction()  # as above
        self._place(key, entry)

    def _place(self, key: str, entry: Entry | None) -> None:
        self._fingerprints.pop(key, None)
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry

    def _committed(self, key: str) -> Entry | None:
        while True:
            before = self._before
            entry = before.get(key, self._entries.get(key))
            if self._before is before:
                return entry

    def _snapshot(self) -> dict[str, Entry]:
        if self._transaction_state.mine is not None:
            return self._entries.copy()
        while True:
            before = self._before
            entries: dict[str, Entry | None] = {**self._entries.copy(), **before.copy()}
            if self._before is before:
                return {key: entry for key, entry in entries.items() if entry is not None}

    def _fingerprint(self, key: str) -> Fingerprint | None:
        data = self._lookup(key).token
        return [len(data), hashlib.blake2b(data).hexdigest()]

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
                self._fingerprints[key] = (self._lookup(key).token, kept)
            return change

    def _keep_fingerprint(self, key: str, own: Fingerprint, fingerprint: Fingerprint | None) -> None:
        with self._writing():
            self._fingerprints.pop(key, None)
            if fingerprint is not None and self._fingerprint(key) == own:
                self._fingerprints[key] = (self._lookup(key).token, fingerprint)

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:
        data, fingerprint = self._fingerprints.get(key, (None, None))
        return fingerprint if self._lookup(key).token is data else None
