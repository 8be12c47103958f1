"""Fingerprints: by which a copy knows that a value is still the one that was copied.

A store that can tell offers a fingerprint of a value: a few numbers that change with its bytes, whoever changes them.
`encore copy` takes it before it reads a value and again at the last byte, so that what was changed meanwhile never
arrives; and the target keeps it with the value that arrived, for as long as it holds just that value. What has the same
fingerprint the next time need not be copied again.

A fingerprint is no metadata: no user sees it, no query finds it, and a store that keeps none is compared byte by byte.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from encore_storage.errors import ConflictError, StoreError
from encore_storage.streams import MEBIBYTE

if TYPE_CHECKING:  # stores import this module
    from encore_storage.stores.core import StoreCore
    from encore_storage.value import Value

Fingerprint = list[int | str]
"""Of one value, as JSON can have it. Those of different kinds of stores have different forms."""

_TICK = 20_000_000  # nanoseconds: two changes of a file within one tick of the clock have the same time
_LONG_TICK = 2_100_000_000  # where times are whole seconds
_SECOND = 1_000_000_000


class Hash(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """Return the digest of all bytes so far."""


class CopiedData:
    """The bytes of a value on their way from one store into another.

    The end is only read if the value has the fingerprint that it had before the first byte.

    Args:
        source: the store that they come from.
        key: the key that they have there.
        value: the value; whoever got it closes it.
        before: its fingerprint before anything was read, or None.
        hash_: takes in the bytes, or None.

    Attributes:
        fingerprint: that of the value, once all bytes have been read; None before, or if there is none.
        error: what the source has raised.
    """

    def __init__(
        self, source: StoreCore, key: str, value: Value, before: Fingerprint | None, hash_: Hash | None = None
    ) -> None:
        """Make it of a value of which nothing has been read."""
        self.fingerprint: Fingerprint | None = None
        self.error: Exception | None = None
        self._source = source
        self._key = key
        self._value = value
        self._before = before
        self._hash = hash_

    @property
    def digest(self) -> bytes | None:
        """The digest of all bytes, or None."""
        return None if self._hash is None else self._hash.digest()

    def read(self, size: int = MEBIBYTE, /) -> bytes:
        """Return the next bytes.

        Raises:
            ConflictError: the value was changed since its fingerprint was taken.
        """
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
        """Leave the closing to whoever got the value."""

    def _check_unchanged(self) -> None:
        if self._before is not None and fingerprint_of(self._source, self._key) != self._before:
            raise ConflictError(self._key, self._source.name)
        self.fingerprint = self._before


def fingerprint_of(store: StoreCore, key: str) -> Fingerprint | None:
    """Return the fingerprint of a value, or None where there is none to be had."""
    try:
        return store._fingerprint(key)  # noqa: SLF001 (a hook of stores)
    except (StoreError, OSError):  # what is wrong is for the reading to say
        return None


def kept_fingerprint(store: StoreCore, key: str) -> Fingerprint | None:
    """Return the fingerprint that came with the copy under the key, if that is there as it arrived."""
    try:
        return store._kept_fingerprint(key)  # noqa: SLF001 (as above)
    except (StoreError, OSError):
        return None


def keep_fingerprint(store: StoreCore, key: str, own: Fingerprint | None, fingerprint: Fingerprint | None) -> None:
    """Keep a fingerprint with the value whose own one is `own`, or forget the one that is kept.

    Nothing is kept of a value that has no fingerprint, or has another one by now.
    """
    if own is not None:
        store._keep_fingerprint(key, own, fingerprint)  # noqa: SLF001 (as above)


def file_fingerprint(found: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file. The time of its last change of any kind cannot be set back."""
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def settled_file(look: Callable[[], os.stat_result]) -> os.stat_result | None:
    """Return what `look` finds once a further change would show, as it would not within one tick of the file's clock.

    That is waited for. None if the file is changed meanwhile, or its time is yet to come.
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
