"""The errors of stores, and the closed set of words that metrics and logs have for any error.

```
EncoreError
└── StoreError
    ├── KeyNotFoundError          no value under that key (KeyError)
    ├── InvalidKeyError           a key that this store can't hold (ValueError)
    │   └── InvalidKeyTypeError       a key that is no str (TypeError)
    ├── InvalidMetadataError      metadata that isn't JSON (TypeError)
    ├── ConflictError             the value was replaced while it was being read (RuntimeError)
    ├── IntegrityError            the stored bytes are not what was written (ValueError)
    ├── StoreConnectionError      the store can't be reached, or was disconnected (ConnectionError)
    ├── StoreFullError            no room for more (OSError)
    ├── StoreReadOnlyError        the store can't be written to (PermissionError)
    ├── OpenDatabaseError         a database that this process has open, used as a file (PermissionError)
    ├── ForkedStoreError          use in a forked child of what its parent has under way (ForkedError)
    └── TransactionError
        ├── TransactionTimeoutError   another thread or task is in a transaction (TimeoutError)
        └── TransactionAbortedError   an inner block failed, so the whole was rolled back (RuntimeError)
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


class StoreError(EncoreError):
    """The root of what goes wrong in a store.

    Attributes:
        error_type: the word for it in metrics and logs, one of `ERROR_TYPES`.
    """

    error_type: ClassVar[ErrorType] = "other"


class KeyNotFoundError(StoreError, KeyError):
    """No value is stored under the key."""

    error_type: ClassVar[ErrorType] = "not_found"

    def __init__(self, key: str, store: str) -> None:
        """Say which `key` is missing from the store named `store`."""
        super().__init__(f"no value under key {key!r} in store {store!r}")
        self.key = key
        self.store = store

    def __str__(self) -> str:
        """The sentence itself; KeyError would show its repr."""
        return str(self.args[0])


class InvalidKeyError(StoreError, ValueError):
    """The store can't hold a value under this key."""

    error_type: ClassVar[ErrorType] = "invalid"

    def __init__(self, key: object, reason: str) -> None:
        """Say why `key` can't be a key, as in "it is empty"."""
        shown = repr(key) if len(repr(key)) <= _SHOWN else f"{repr(key)[:_SHOWN]}… ({len(repr(key))} characters)"
        super().__init__(f"{shown} cannot be a key: {reason}")
        self.key = key
        self.reason = reason


class InvalidKeyTypeError(InvalidKeyError, TypeError):
    """A key is a str."""


class InvalidMetadataError(StoreError, TypeError):
    """Metadata is a dict of JSON: str, int, finite float, bool, None, and lists and dicts of them."""

    error_type: ClassVar[ErrorType] = "invalid"

    def __init__(self, place: str, reason: str) -> None:
        """Say what is wrong at `place`, as in "metadata['tags'][0] is a set"."""
        super().__init__(f"{place} {reason}; metadata must be JSON: str, int, finite float, bool, None, list, dict")
        self.place = place


class ConflictError(StoreError, RuntimeError):
    """The value was replaced or deleted between its look-up and the end of its reading."""

    error_type: ClassVar[ErrorType] = "conflict"

    def __init__(self, key: str, store: str) -> None:
        """Say which `key` changed in the store named `store`."""
        super().__init__(
            f"the value under key {key!r} in store {store!r} was replaced while it was being read: get it again"
        )
        self.key = key
        self.store = store


class IntegrityError(StoreError, ValueError):
    """What is stored is not what was written."""

    error_type: ClassVar[ErrorType] = "integrity"


class StoreConnectionError(StoreError, ConnectionError):
    """The store can't be reached, or `disconnect()` was called."""

    error_type: ClassVar[ErrorType] = "connection"


class StoreFullError(StoreError, OSError):
    """The store has no room for more."""

    error_type: ClassVar[ErrorType] = "quota_exceeded"


class StoreReadOnlyError(StoreError, PermissionError):
    """The store can be read, but not written to."""

    error_type: ClassVar[ErrorType] = "read_only"


class OpenDatabaseError(StoreError, PermissionError):
    """A file is a database, or the log of one, that a SqliteStore of this process has open."""

    error_type: ClassVar[ErrorType] = "conflict"

    def __init__(self, path: str, store: str) -> None:
        """Name the file and the `store` that has it open."""
        super().__init__(
            f"cannot use {path!r} as a file: store {store!r} of this process has that database open, and would lose "
            "its locks when the file is closed; read it through the store, or call disconnect() first"
        )
        self.path = path
        self.store = store


class ForkedStoreError(StoreError, ForkedError):
    """A forked child used a stream, an operation or a transaction that was open in its parent at the fork."""


class TransactionError(StoreError):
    """A transaction can't go on."""


class TransactionTimeoutError(TransactionError, TimeoutError):
    """Another thread or task is in a transaction with the store, and its end did not come in time."""

    error_type: ClassVar[ErrorType] = "timeout"

    def __init__(self, store: str, reason: str) -> None:
        """Say which `store` is busy, and why waiting was no use."""
        super().__init__(f"store {store!r} is in a transaction: {reason}")
        self.store = store


class TransactionAbortedError(TransactionError, RuntimeError):
    """An inner block failed and the outer one went on; nothing of the transaction was kept."""

    error_type: ClassVar[ErrorType] = "conflict"

    def __init__(self, store: str) -> None:
        """Say in which `store`."""
        super().__init__(
            f"the transaction with store {store!r} was rolled back, since a block inside it failed: "
            "let the error leave the outer block, or do the work that may fail outside of the transaction"
        )
        self.store = store


_SHOWN = 80

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
    """The word of the closed set `ERROR_TYPES` for any error.

    >>> error_type_of(PermissionError()), error_type_of(ZeroDivisionError())
    ('permission_denied', 'other')
    """
    if isinstance(error, StoreError):
        return error.error_type
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    return next((word for cls, word in _BY_CLASS if isinstance(error, cls)), "other")


def is_interrupt(error: BaseException) -> bool:
    """Return whether the error may come between any two steps, and says nothing of the step that it broke off.

    >>> is_interrupt(KeyboardInterrupt()), is_interrupt(RecursionError()), is_interrupt(OSError())
    (True, True, False)
    """
    return not isinstance(error, Exception) or isinstance(error, MemoryError | RecursionError)


def cut_off() -> asyncio.CancelledError:
    """Return the error of an operation that nobody is left to end."""
    return asyncio.CancelledError("cut off by an interrupt, or collected before it was closed or read to its end")
