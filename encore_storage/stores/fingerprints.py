"""Fingerprints, by which a copy recognises that a value is unchanged.

A store may offer a fingerprint of a value: a few numbers that change with its bytes, even if another program changes
them. `encore copy` takes it before it reads a value and again at the last byte, so that a value changed meanwhile never
arrives. The target keeps the fingerprint for as long as it holds that very copy. A value with the same fingerprint is
not copied again. Without fingerprints, values are compared byte by byte.

A fingerprint is not metadata: no user sees it, and no query finds it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from encore_storage.errors import ConflictError, StoreError
from encore_storage.streams import MEBIBYTE

if TYPE_CHECKING:  # stores import this module
    from encore_storage.metadata import Metadata
    from encore_storage.stores.core import StoreCore
    from encore_storage.transactions.writing import Change
    from encore_storage.value import Value

Fingerprint = list[int | str]  # as JSON; each kind of store has a form of its own
_TICK = 20_000_000  # nanoseconds: two changes of a file within one tick of the clock have the same time
_LONG_TICK = 2_100_000_000  # on file systems with times in whole seconds
_SECOND = 1_000_000_000


class CopiedData:
    """The bytes of a value on their way from one store to another.

    The end is only reached if the value still has the fingerprint that it had before the first byte.

    Args:
        source: the store that is read.
        key: the key in that store.
        value: the value; the caller closes it.
        before: its fingerprint before anything was read, or None.
        hash_: a hash to update with the bytes, or None.

    Attributes:
        fingerprint: the fingerprint of the value once all bytes have been read; None before, or if it has none.
        error: the error that the source has raised, or None.
    """

    def __init__(
        self,
        source: StoreCore,
        key: str,
        value: Value,
        before: Fingerprint | None,
        hash_: hashlib.blake2b | None = None,
    ) -> None:
        self.fingerprint: Fingerprint | None = None
        self.error: Exception | None = None
        self._source = source
        self._key = key
        self._value = value
        self._before = before
        self._hash = hash_

    @property
    def digest(self) -> bytes | None:
        """The digest of all bytes so far, or None without a hash."""
        return None if self._hash is None else self._hash.digest()

    def read(self, size: int = MEBIBYTE, /) -> bytes:
        """Return the next bytes. Raises ConflictError at the end if the fingerprint of the value has changed."""
        try:
            chunk = bytes(self._value.data.read(size))
            if not chunk:
                self._check_unchanged()
        except (StoreError, OSError) as error:
            self.error = error
            raise
        if self._hash is not None:
            self._hash.update(chunk)
        return chunk

    def close(self) -> None:
        """Do nothing: the caller closes the value."""

    def _check_unchanged(self) -> None:
        if self._before is not None and fingerprint_of(self._source, self._key) != self._before:
            raise ConflictError(self._key, self._source.name)
        self.fingerprint = self._before


def fingerprint_of(store: StoreCore, key: str) -> Fingerprint | None:
    """Return the fingerprint of a value, or None if it is not available."""
    try:
        return store._fingerprint(key)  # noqa: SLF001 (a hook of stores)
    except (StoreError, OSError):  # reading the value raises it again
        return None


def kept_fingerprint(store: StoreCore, key: str) -> Fingerprint | None:
    """Return the fingerprint kept with a copy, or None unless the value is still that copy."""
    try:
        return store._kept_fingerprint(key)  # noqa: SLF001 (as above)
    except (StoreError, OSError):
        return None


def keep_fingerprint(store: StoreCore, key: str, own: Fingerprint | None, fingerprint: Fingerprint | None) -> None:
    """Keep a fingerprint with a value, or forget the kept one if `fingerprint` is None.

    Nothing is kept unless the value's own fingerprint is `own`, and not None.
    """
    if own is not None:
        store._keep_fingerprint(key, own, fingerprint)  # noqa: SLF001 (as above)


def put_copy(
    store: Any,
    key: str,
    chunks: Iterable[bytes],
    metadata: Metadata | None,
    fingerprint: Callable[[], Fingerprint | None],
) -> Change:
    """Store a copied value and its fingerprint in one write: `_put_copy` of a store with `_attach_fingerprint`."""
    with store._writing():  # noqa: SLF001 (this is a method of that store)
        change: Change = store._put(key, chunks, metadata)  # noqa: SLF001 (as above)
        kept = fingerprint()
        if kept is not None:
            store._attach_fingerprint(key, kept)  # noqa: SLF001 (as above)
        return change


def file_fingerprint(found: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file. It includes the time of the last change, which cannot be set back."""
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def settled_file(look: Callable[[], os.stat_result]) -> os.stat_result | None:
    """Return the result of `look` once any further change of the file would change its time.

    Wait for the next tick of the file system's clock where necessary. Return None if the file changes meanwhile or its
    time lies in the future.
    """
    found = look()
    wait = found.st_ctime_ns + (_TICK if found.st_ctime_ns % _SECOND else _LONG_TICK) - time.time_ns()
    if wait <= 0:
        return found
    if wait > _LONG_TICK:
        return None
    time.sleep(wait / _SECOND)
    again = look()
    return again if file_fingerprint(again) == file_fingerprint(found) else None
