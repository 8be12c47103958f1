"""Copying keys of one store into another, in transactions, and again until all have arrived."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from encore_events import ProgressManager
from encore_storage.errors import (
    ConflictError,
    InvalidKeyError,
    KeyNotFoundError,
    OpenDatabaseError,
    StoreError,
    error_type_of,
)
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.fingerprints import (
    CopiedData,
    Fingerprint,
    fingerprint_of,
    keep_fingerprint,
    kept_fingerprint,
)
from encore_storage.streams import MEBIBYTE, buffer_iterator
from encore_storage.transactions.contexts import TransactionEntry
from encore_storage.value import Value

_TRIES = 3
"""How many times a value is read that is changed each time."""


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
    go on. What goes wrong with the target itself is raised, and the open transaction rolled back.

    A key is skipped if the target holds just the value that arrived before, and the source that of then: by their
    fingerprints, or else by their bytes. With `verify`, always by their bytes, and every copied value is read back
    and compared by hash. A value that is changed while it is read is read again.

    Args:
        source: where the values come from.
        target: where they go.
        transaction_size: how many keys are committed together.
        verify: whether to trust no fingerprint, and read back what was written.
        taken: keys that the target must not write, and why; those are noted as failed.
    """

    def __init__(
        self,
        source: AbstractStore,
        target: AbstractStore,
        *,
        transaction_size: int,
        verify: bool,
        taken: dict[str, str] | None = None,
    ) -> None:
        """Make a job that has not begun."""
        self.report = CopyReport()
        self._source = source
        self._target = target
        self._transaction_size = transaction_size
        self._verify = verify
        self._taken = taken or {}
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
            if isinstance(transaction, TransactionEntry) and transaction.outcome == "committed":
                self.report.copied += len(self._copied)  # an interrupt came when it was done
            raise
        self._settle()

    def _copy_all(self, keys: Sequence[str], done: int, progress: ProgressManager) -> None:
        for number, key in enumerate(keys, start=done + 1):
            if key in self._taken:
                self.report.failed[key] = self._taken[key]
            else:
                self._copy(key)
            if not self._target.transactional:
                self._settle()
            progress(step=number)

    def _settle(self) -> None:
        """Count as copied what can no longer be taken back, and verify it."""
        copied, self._copied = self._copied, {}
        for key, digest in copied.items():
            if self._verify and self._digest(key) != digest:
                self.report.failed[key] = "what arrived is not what was read"
                keep_fingerprint(self._target, key, fingerprint_of(self._target, key), None)
            else:
                self.report.copied += 1

    def _copy(self, key: str) -> None:
        """Copy the value, in several tries if it is changed in each."""
        reason = ""
        for _ in range(_TRIES):
            try:
                reason = self._try_to_copy(key)
            except ConflictError as error:
                reason = str(error)
            else:
                break
        if reason:
            self.report.failed[key] = reason

    def _try_to_copy(self, key: str) -> str:
        """Copy the value, or find that it is there; give the reason if neither can be.

        Raises:
            ConflictError: it was changed in the source while it was read.
        """
        before = fingerprint_of(self._source, key)
        try:
            value = self._source.get(key)
        except (StoreError, OSError) as error:
            return str(error)
        with value:
            if self._has_arrived(key, value, before):
                self.report.skipped += 1
                return ""
            return self._set(key, value, before)

    def _set(self, key: str, value: Value, before: Fingerprint | None) -> str:
        data = CopiedData(self._source, key, value, before, hashlib.blake2b() if self._verify else None)
        try:
            self._target.set(key, Value(data, value.metadata, size=value.size))
        except (StoreError, OSError) as error:
            if data.error is None and not _is_about_the_key(error):
                raise
            if isinstance(data.error, ConflictError):
                raise data.error from error
            return str(error)
        self._copied[key] = data.digest
        return ""

    def _has_arrived(self, key: str, value: Value, before: Fingerprint | None) -> bool:
        if key not in self._there:
            return False
        try:
            there = self._target.get(key)
        except KeyNotFoundError:  # deleted since the job began
            return False
        if there.size != value.size or not _is_same(there.metadata, value.metadata):
            return False
        if not self._verify and before is not None and kept_fingerprint(self._target, key) == before:
            return True
        return self._is_equal(key, before)

    def _is_equal(self, key: str, before: Fingerprint | None) -> bool:
        """Whether both stores hold the same bytes, which the fingerprint tells the next time."""
        own = fingerprint_of(self._target, key)
        try:
            with self._source.get_data(key) as data, self._target.get_data(key) as other:
                chunk: bytes | None = None
                while chunk != b"":
                    chunk = data.read(MEBIBYTE)
                    if other.read(MEBIBYTE) != chunk:
                        return False
        except (StoreError, OSError):  # what is wrong is for the copying to say
            return False
        if before is not None and fingerprint_of(self._source, key) != before:
            raise ConflictError(key, self._source.name)
        keep_fingerprint(self._target, key, own, before)
        return True

    def _digest(self, key: str) -> bytes | None:
        """The hash of the bytes that arrived, or None where they can't be read."""
        digest = hashlib.blake2b()
        try:
            with self._target.get_data(key) as data:
                for chunk in buffer_iterator(data):
                    digest.update(chunk)
        except (StoreError, OSError):
            return None
        return digest.digest()


def _is_about_the_key(error: StoreError | OSError) -> bool:
    """Whether the target may hold other keys all the same."""
    if isinstance(error, InvalidKeyError | OpenDatabaseError):
        return True
    return not isinstance(error, StoreError) and error_type_of(error) in {"invalid", "permission_denied"}


def _is_same(metadata: Metadata, other: Metadata) -> bool:
    """Whether both are the same as JSON, where 1, 1.0 and true are three values."""
    return json.dumps(metadata, sort_keys=True) == json.dumps(other, sort_keys=True)
