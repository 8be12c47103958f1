"""A resumable copy of keys from one store to another, in transactions."""

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
from encore_storage.streams import MEBIBYTE
from encore_storage.transactions.contexts import TransactionEntry
from encore_storage.value import Value

_TRIES = 3  # attempts to read a value that changes while it is read


@dataclass
class CopyReport:
    """The progress of a copy.

    Attributes:
        total: number of keys to copy.
        copied: number of keys copied and committed by this run.
        skipped: number of keys that were up to date before.
        failed: the reason for each key that could not be copied.
    """

    total: int = 0
    copied: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def up_to_date(self) -> int:
        """The number of keys that are up to date in the target."""
        return self.copied + self.skipped

    @property
    def is_complete(self) -> bool:
        """True if all keys are up to date in the target."""
        return self.up_to_date == self.total

    def __str__(self) -> str:
        skipped = f" ({self.skipped:,} already up to date)" if self.skipped else ""
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        return f"{self.up_to_date:,} of {self.total:,} keys copied{skipped}{failed}"


class CopyJob:
    """A copy of keys from `source` to `target`, with `transaction_size` keys in each transaction.

    A key that cannot be read from the source or stored in the target is recorded in `report` as failed; the copy goes
    on. Any other error of the target rolls the open transaction back and is raised.

    A key is skipped if neither its value in the source nor the copy in the target has changed since it was copied.
    Fingerprints decide this, or else a comparison of the bytes. With `verify`, bytes are always compared, and every
    copied value is read back and compared by hash. A value that changes while it is read is read again.

    Args:
        source: the store to copy from.
        target: the store to copy to.
        transaction_size: number of keys in a transaction.
        verify: whether to ignore fingerprints, and read back copied values.
        reserved: keys that must not be written to the target, with the reason; they fail.
    """

    def __init__(
        self,
        source: AbstractStore,
        target: AbstractStore,
        *,
        transaction_size: int,
        verify: bool,
        reserved: dict[str, str] | None = None,
    ) -> None:
        self.report = CopyReport()
        self._source = source
        self._target = target
        self._transaction_size = transaction_size
        self._verify = verify
        self._reserved = reserved or {}
        self._existing: frozenset[str] = frozenset()
        self._copied: dict[str, bytes | None] = {}

    def run(self, keys: Sequence[str]) -> None:
        """Copy the keys and keep `report` up to date."""
        self.report.total = len(keys)
        self._existing = frozenset(self._target.query_keys())
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
                self.report.copied += len(self._copied)  # interrupted after the commit
            raise
        self._count_copied()

    def _copy_all(self, keys: Sequence[str], done: int, progress: ProgressManager) -> None:
        for number, key in enumerate(keys, start=done + 1):
            if key in self._reserved:
                self.report.failed[key] = self._reserved[key]
            else:
                self._copy(key)
            if not self._target.transactional:
                self._count_copied()
            progress(step=number)

    def _count_copied(self) -> None:
        """Count the keys that are committed, after verifying them."""
        copied, self._copied = self._copied, {}
        for key, digest in copied.items():
            if self._verify and self._digest(key) != digest:
                self.report.failed[key] = "the bytes in the target differ from the source"
                keep_fingerprint(self._target, key, fingerprint_of(self._target, key), None)
            else:
                self.report.copied += 1

    def _copy(self, key: str) -> None:
        """Copy the value, and retry if it changes meanwhile."""
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
        """Copy unless up to date; return why it failed, or ''. Raises ConflictError if the value changes meanwhile."""
        before = fingerprint_of(self._source, key)
        try:
            value = self._source.get(key)
        except (StoreError, OSError) as error:
            return str(error)
        with value:
            if self._is_up_to_date(key, value, before):
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

    def _is_up_to_date(self, key: str, value: Value, before: Fingerprint | None) -> bool:
        if key not in self._existing:
            return False
        try:
            copy = self._target.get(key)
        except KeyNotFoundError:  # deleted since the job began
            return False
        if copy.size != value.size or not _is_same(copy.metadata, value.metadata):
            return False
        if not self._verify and before is not None and kept_fingerprint(self._target, key) == before:
            return True
        return self._is_equal(key, before)

    def _is_equal(self, key: str, before: Fingerprint | None) -> bool:
        """Return whether both stores hold the same bytes; if so, keep the fingerprint for the next run."""
        own = fingerprint_of(self._target, key)
        try:
            with self._source.get_data(key) as data, self._target.get_data(key) as other:
                chunk: bytes | None = None
                while chunk != b"":
                    chunk = data.read(MEBIBYTE)
                    if other.read(MEBIBYTE) != chunk:
                        return False
        except (StoreError, OSError):  # copying the value will report the error
            return False
        if before is not None and fingerprint_of(self._source, key) != before:
            raise ConflictError(key, self._source.name)
        keep_fingerprint(self._target, key, own, before)
        return True

    def _digest(self, key: str) -> bytes | None:
        try:
            with self._target.get_data(key) as data:
                return hashlib.file_digest(data, hashlib.blake2b).digest()
        except (StoreError, OSError):
            return None


def _is_about_the_key(error: StoreError | OSError) -> bool:
    if isinstance(error, InvalidKeyError | OpenDatabaseError):
        return True
    return not isinstance(error, StoreError) and error_type_of(error) in {"invalid", "permission_denied"}


def _is_same(metadata: Metadata, other: Metadata) -> bool:
    """Compare as JSON, in which 1, 1.0 and true differ."""
    return json.dumps(metadata, sort_keys=True) == json.dumps(other, sort_keys=True)
