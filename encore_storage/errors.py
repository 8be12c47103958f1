"""The errors of stores, and the closed set of error types that metrics and logs use for any error.

```
EncoreError
└── StoreError
    ├── KeyNotFoundError          no value under the key (KeyError)
    ├── InvalidKeyError           the store cannot hold this key (ValueError)
    │   └── InvalidKeyTypeError       the key is not a str (TypeError)
    ├── InvalidMetadataError      the metadata is not JSON (TypeError)
    ├── ConflictError             the value was replaced while it was being read (RuntimeError)
    ├── IntegrityError            the stored bytes differ from those written (ValueError)
    ├── StoreConnectionError      the store is unreachable or disconnected (ConnectionError)
    ├── StoreFullError            the store has no space left (OSError)
    ├── StoreReadOnlyError        the store is read-only (PermissionError)
    ├── OpenDatabaseError         the file is a database that this process has open (PermissionError)
    ├── UnpicklableError          the store, value or stream cannot be pickled or copied (TypeError)
    ├── ForkedStoreError          the stream, operation or transaction belongs to the parent process (ForkedError)
    └── TransactionError
        ├── TransactionTimeoutError   another thread or task is in a transaction (TimeoutError)
        └── TransactionAbortedError   an inner block failed, so the transaction was rolled back (RuntimeError)
```
"""

from __future__ import annotations

import asyncio
import errno
import io
from typing import ClassVar, Literal, get_args

from encore_events.errors import EncoreError, ForkedError

ErrorType = Literal[
    "not_found",
    "conflict",
    "permission_denied",
    "timeout",
    "connection",
    "integrity",
    "invalid",
    "unsupported",
    "quota_exceeded",
    "read_only",
    "other",
]
ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)

_MAX_REPR = 80  # characters of a key in a message


class StoreError(EncoreError):
    """The base class of all errors of stores.

    Attributes:
        error_type: the type in metrics and logs, one of `ERROR_TYPES`.
    """

    error_type: ClassVar[ErrorType] = "other"


class KeyNotFoundError(StoreError, KeyError):
    """No value is stored under the key."""

    error_type: ClassVar[ErrorType] = "not_found"

    def __init__(self, key: str, store: str) -> None:
        super().__init__(f"no value under key {key!r} in store {store!r}")
        self.key = key
        self.store = store

    def __str__(self) -> str:
        """Return the message; KeyError would return its repr."""
        return str(self.args[0])


class InvalidKeyError(StoreError, ValueError):
    """The store cannot hold a value under this key."""

    error_type: ClassVar[ErrorType] = "invalid"

    def __init__(self, key: object, reason: str) -> None:
        """Take the `key` and the reason, such as "it is empty"."""
        text = repr(key)
        if len(text) > _MAX_REPR:
            text = f"{text[:_MAX_REPR]}… ({len(text)} characters)"
        super().__init__(f"{text} cannot be a key: {reason}")
        self.key = key
        self.reason = reason


class InvalidKeyTypeError(InvalidKeyError, TypeError):
    """The key is not a str."""


class InvalidMetadataError(StoreError, TypeError):
    """The metadata is not JSON: a dict of str, int, finite float, bool, None, and lists and dicts of them."""

    error_type: ClassVar[ErrorType] = "invalid"

    def __init__(self, place: str, reason: str) -> None:
        """Take the place and the reason, such as "metadata['tags'][0]" and "is a set"."""
        super().__init__(f"{place} {reason}; metadata must be JSON: str, int, finite float, bool, None, list, dict")
        self.place = place


class ConflictError(StoreError, RuntimeError):
    """The value was replaced or deleted after its look-up and before its last byte was read."""

    error_type: ClassVar[ErrorType] = "conflict"

    def __init__(self, key: str, store: str) -> None:
        super().__init__(
            f"the value under key {key!r} in store {store!r} was replaced while it was being read: get it again"
        )
        self.key = key
        self.store = store


class IntegrityError(StoreError, ValueError):
    """The stored bytes differ from those that were written."""

    error_type: ClassVar[ErrorType] = "integrity"


class StoreConnectionError(StoreError, ConnectionError):
    """The store is unreachable, or `disconnect()` was called."""

    error_type: ClassVar[ErrorType] = "connection"


class StoreFullError(StoreError, OSError):
    """The store has no space left."""

    error_type: ClassVar[ErrorType] = "quota_exceeded"


class StoreReadOnlyError(StoreError, PermissionError):
    """The store can be read, but not written."""

    error_type: ClassVar[ErrorType] = "read_only"


class OpenDatabaseError(StoreError, PermissionError):
    """The file is a database, or its log, that a SqliteStore of this process has open."""

    error_type: ClassVar[ErrorType] = "conflict"

    def __init__(self, path: str, store: str) -> None:
        """Take the path of the file and the name of the `store` that has it open."""
        super().__init__(
            f"cannot use {path!r} as a file: store {store!r} of this process has that database open, and would lose "
            "its locks when the file is closed; read it through the store, or call disconnect() first"
        )
        self.path = path
        self.store = store


class ForkedStoreError(StoreError, ForkedError):
    """A forked child used a stream, an operation or a transaction that was open in its parent at the fork."""


class UnpicklableError(StoreError, TypeError):
    """A store, value or stream that cannot be pickled or copied."""

    error_type: ClassVar[ErrorType] = "unsupported"

    def __init__(self, what: str, reason: str) -> None:
        """Take the repr of the object, and why it cannot be pickled, with the advice what to do."""
        super().__init__(f"cannot pickle or copy {what}: {reason}")
        self.what = what
        self.reason = reason


class TransactionError(StoreError):
    """The transaction cannot begin or go on."""


class TransactionTimeoutError(TransactionError, TimeoutError):
    """Another thread or task is in a transaction of the store, which did not end in time."""

    error_type: ClassVar[ErrorType] = "timeout"

    def __init__(self, store: str, reason: str) -> None:
        """Take the name of the busy `store`, and why waiting failed or would fail."""
        super().__init__(f"store {store!r} is in a transaction: {reason}")
        self.store = store


class TransactionAbortedError(TransactionError, RuntimeError):
    """An inner block failed and the outer block went on, so the transaction was rolled back."""

    error_type: ClassVar[ErrorType] = "conflict"

    def __init__(self, store: str) -> None:
        super().__init__(
            f"the transaction with store {store!r} was rolled back because a block inside it failed: "
            "let the error leave the outer block, or do that work outside of the transaction"
        )
        self.store = store


_BY_ERRNO: dict[int | None, ErrorType] = {
    errno.ENOSPC: "quota_exceeded",
    errno.EDQUOT: "quota_exceeded",
    errno.EFBIG: "quota_exceeded",
    errno.EROFS: "read_only",
    errno.ETIMEDOUT: "timeout",
    errno.ENAMETOOLONG: "invalid",
    errno.EINVAL: "invalid",
    errno.ENOTDIR: "conflict",
    errno.EISDIR: "conflict",
}

_BY_CLASS: tuple[tuple[type[BaseException], ErrorType], ...] = (
    (FileNotFoundError, "not_found"),
    (FileExistsError, "conflict"),
    (PermissionError, "permission_denied"),
    (TimeoutError, "timeout"),
    (ConnectionError, "connection"),
    (io.UnsupportedOperation, "unsupported"),
    (NotImplementedError, "unsupported"),
    (KeyError, "not_found"),
    (ValueError, "invalid"),
    (TypeError, "invalid"),
)


def error_type_of(error: BaseException) -> ErrorType:
    """Return the error type of any error, one of `ERROR_TYPES`.

    >>> error_type_of(PermissionError()), error_type_of(ZeroDivisionError())
    ('permission_denied', 'other')
    """
    if isinstance(error, StoreError):
        return error.error_type
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    return next((error_type for cls, error_type in _BY_CLASS if isinstance(error, cls)), "other")


def is_interrupt(error: BaseException) -> bool:
    """Return whether the error can be raised between any two steps, so that it does not show which step failed.

    >>> is_interrupt(KeyboardInterrupt()), is_interrupt(RecursionError()), is_interrupt(OSError())
    (True, True, False)
    """
    return not isinstance(error, Exception) or isinstance(error, MemoryError | RecursionError)


def abandoned_error() -> asyncio.CancelledError:
    """Return the error of an operation that an interrupt or a garbage collection left without an end."""
    return asyncio.CancelledError("interrupted, or collected before it was closed or read to its end")
