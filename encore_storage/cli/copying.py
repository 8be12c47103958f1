"""Copying keys of one store into another, in transactions, and again until all have arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from encore_events import ProgressManager
from encore_storage.errors import InvalidKeyError, StoreError
from encore_storage.store import AbstractStore
from encore_storage.streams import MEBIBYTE, buffer_iterator
from encore_storage.transactions import SimpleTransactionContext
from encore_storage.value import Value


@dataclass
class CopyReport:
    """How far a copy has come.

    Attributes:
        total: how many keys there are to copy.
        copied: how many this run has copied and committed.
        skipped: how many were there before, unchanged.
        failed: for each key that could not be copied, why.
    """

    total: int = 0
    copied: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def arrived(self) -> int:
        """How many of the keys are in the target."""
        return self.copied + self.skipped

    @property
    def is_complete(self) -> bool:
        """Whether all of them are."""
        return self.arrived == self.total


class CopyJob:
    """Copies keys of `source` into `target`, `transaction_size` in each transaction.

    A key that the source can't give, or the target can't hold, is noted in `report` as failed, and the others
    go on. What goes wrong with the target itself is raised, and the open transaction rolled back. A key that has
    arrived before and was not modified since is skipped; with `verify`, only if its bytes are the same by hash,
    and every copied value is read back and compared.
    """

    def __init__(self, source: AbstractStore, target: AbstractStore, *, transaction_size: int, verify: bool) -> None:
        """Make a job that has not begun."""
        self.report = CopyReport()
        self._source = source
        self._target = target
        self._transaction_size = transaction_size
        self._verify = verify
        self._there: frozenset[str] = frozenset()
        self._copied: dict[str, bytes | None] = {}

    def run(self, keys: Sequence[str]) -> None:
        """Copy the keys; `report` is true all the while."""
        self.report.total = len(keys)
        self._there = frozenset(self._target.query_keys())
        with ProgressManager(self._target.event_manager, self, message="copying", steps=len(keys)) as progress:
            for first in range(0, len(keys), self._transaction_size):
                self._run_batch(keys[first : first + self._transaction_size], first, progress)

    def _run_batch(self, keys: Sequence[str], done: int, progress: ProgressManager) -> None:
        self._copied = {}
        transaction = self._target.transaction(f"copy of {len(keys)} keys")
        try:
            with transaction:
                self._copy_all(keys, done, progress)
        except BaseException:
            if isinstance(transaction, SimpleTransactionContext) and transaction.outcome == "committed":
                self.report.copied += len(self._copied)  # an interrupt came when it was done
            raise
        self._settle()

    def _copy_all(self, keys: Sequence[str], done: int, progress: ProgressManager) -> None:
        for number, key in enumerate(keys, start=done + 1):
            self._copy(key)
            if not self._target.transactional:
                self._settle()
            progress(step=number)

    def _settle(self) -> None:
        """Count as copied what can no longer be taken back, and verify it."""
        copied, self._copied = self._copied, {}
        for key, digest in copied.items():
            if self._verify and self._digest(self._target, key) != digest:
                self.report.failed[key] = "what arrived is not what was read"
            else:
                self.report.copied += 1

    def _copy(self, key: str) -> None:
        try:
            value = self._source.get(key)
        except (StoreError, OSError) as error:
            self.report.failed[key] = str(error)
            return
        with value:
            if self._has_arrived(key, value):
                self.report.skipped += 1
            else:
                self._set(key, value)

    def _set(self, key: str, value: Value) -> None:
        source = _Source(value, hashlib.blake2b() if self._verify else None)
        try:
            self._target.set(key, Value(source, value.metadata, size=value.size))
        except (StoreError, OSError) as error:
            if source.error is None and not isinstance(error, InvalidKeyError):
                raise
            self.report.failed[key] = str(error)
        else:
            self._copied[key] = source.digest

    def _has_arrived(self, key: str, value: Value) -> bool:
        if key not in self._there:
            return False
        there = self._target.get(key)
        if there.size != value.size or there.metadata != value.metadata:
            return False
        if self._verify:
            digest = self._digest(self._target, key)
            return digest is not None and digest == self._digest(self._source, key)
        return (there.modified or 0) >= (value.modified or 0)

    def _digest(self, store: AbstractStore, key: str) -> bytes | None:
        """The hash of the bytes, or None where they can't be read."""
        digest = hashlib.blake2b()
        try:
            with store.get_data(key) as data:
                for chunk in buffer_iterator(data):
                    digest.update(chunk)
        except (StoreError, OSError):
            return None
        return digest.digest()


class Hash(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


class _Source:
    """A source's bytes on their way to the target: hashed, and what the source itself raises noted."""

    def __init__(self, value: Value, hash_: Hash | None) -> None:
        self.error: Exception | None = None
        self._value = value
        self._hash = hash_

    @property
    def digest(self) -> bytes | None:
        return None if self._hash is None else self._hash.digest()

    def read(self, size: int = MEBIBYTE, /) -> bytes:
        try:
            chunk = bytes(self._value.data.read(size))
        except (StoreError, OSError) as error:
            self.error = error
            raise
        if self._hash is not None:
            self._hash.update(chunk)
        return chunk

    def close(self) -> None:
        """Leave the closing to whoever got the value."""
