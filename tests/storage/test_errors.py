"""The errors of stores, and their error types in metrics."""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import re
from typing import Any

import pytest

from encore_events import EncoreError
from encore_events.errors import ForkedError
from encore_storage import errors
from encore_storage.errors import (
    ERROR_TYPES,
    ConflictError,
    ForkedStoreError,
    IntegrityError,
    InvalidKeyError,
    InvalidKeyTypeError,
    InvalidMetadataError,
    KeyNotFoundError,
    OpenDatabaseError,
    StoreConnectionError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    TransactionAbortedError,
    TransactionError,
    TransactionTimeoutError,
    UnpicklableError,
    error_type_of,
)

TREE: list[tuple[Any, type[Exception], str]] = [
    (KeyNotFoundError("k", "archive"), KeyError, "not_found"),
    (InvalidKeyError("k", "it is empty"), ValueError, "invalid"),
    (InvalidKeyTypeError(1, "it is of type int, not a str"), TypeError, "invalid"),
    (InvalidMetadataError("metadata['a']", "is a set"), TypeError, "invalid"),
    (ConflictError("k", "archive"), RuntimeError, "conflict"),
    (IntegrityError("bytes are missing"), ValueError, "integrity"),
    (StoreConnectionError("disconnected"), ConnectionError, "connection"),
    (StoreFullError("no room"), OSError, "quota_exceeded"),
    (StoreReadOnlyError("may not write"), PermissionError, "read_only"),
    (OpenDatabaseError("/srv/a.db", "archive"), PermissionError, "conflict"),
    (UnpicklableError("a stream", "it is open"), TypeError, "unsupported"),
    (ForkedStoreError("a stream", 7, "open it in the child"), ForkedError, "other"),
    (TransactionTimeoutError("archive", "awaited for 1 s"), TimeoutError, "timeout"),
    (TransactionAbortedError("archive"), RuntimeError, "conflict"),
]
ERROR_TYPE_OF = [
    (FileNotFoundError(errno.ENOENT, "none"), "not_found"),
    (KeyError("k"), "not_found"),
    (FileExistsError(errno.EEXIST, "there"), "conflict"),
    (NotADirectoryError(errno.ENOTDIR, "a file"), "conflict"),
    (IsADirectoryError(errno.EISDIR, "a directory"), "conflict"),
    (PermissionError(errno.EACCES, "no"), "permission_denied"),
    (OSError(errno.EROFS, "read-only"), "read_only"),
    (OSError(errno.ENOSPC, "full"), "quota_exceeded"),
    (OSError(errno.EDQUOT, "quota"), "quota_exceeded"),
    (OSError(errno.EFBIG, "big"), "quota_exceeded"),
    (TimeoutError("late"), "timeout"),
    (OSError(errno.ETIMEDOUT, "late"), "timeout"),
    (ConnectionResetError(errno.ECONNRESET, "gone"), "connection"),
    (OSError(errno.ENAMETOOLONG, "long"), "invalid"),
    (OSError(errno.EINVAL, "invalid"), "invalid"),
    (ValueError("bad"), "invalid"),
    (UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), "invalid"),
    (TypeError("bad"), "invalid"),
    (io.UnsupportedOperation("seek"), "unsupported"),
    (NotImplementedError(), "unsupported"),
    (OSError("anything"), "other"),
    (OSError(errno.EIO, "disk"), "other"),
    (ZeroDivisionError(), "other"),
    (MemoryError(), "other"),
    (ExceptionGroup("many", [ValueError()]), "other"),
    (KeyboardInterrupt(), "other"),
    (asyncio.CancelledError(), "other"),
]


@pytest.mark.parametrize(("error", "standard", "error_type"), TREE, ids=lambda value: type(value).__name__)
def test_leaf_is_a_store_error_and_a_standard_exception(
    error: StoreError, standard: type[Exception], error_type: str
) -> None:
    assert isinstance(error, StoreError)
    assert isinstance(error, EncoreError)
    assert isinstance(error, standard)
    assert error.error_type == error_type_of(error) == error_type


def test_docstring_draws_the_tree() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) .*\((\w+)\)", errors.__doc__ or ""))

    assert drawn == {type(error).__name__: standard.__name__ for error, standard, _ in TREE}
    leaves = {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, StoreError) and cls not in (StoreError, TransactionError)
    }
    assert leaves == set(drawn)


def test_transaction_errors_have_their_own_root() -> None:
    assert issubclass(TransactionTimeoutError, TransactionError)
    assert issubclass(TransactionAbortedError, TransactionError)
    assert error_type_of(TransactionError("no")) == "other"


@pytest.mark.parametrize(("error", "error_type"), ERROR_TYPE_OF, ids=[repr(error) for error, _ in ERROR_TYPE_OF])
def test_any_error_has_a_known_error_type(error: BaseException, error_type: str) -> None:
    assert error_type_of(error) == error_type
    assert error_type in ERROR_TYPES


def test_error_types_are_closed() -> None:
    assert ERROR_TYPES == (
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
    )


def test_error_message_and_attributes_name_the_offender() -> None:
    missing = KeyNotFoundError("reports/q3", "archive")
    assert str(missing) == "no value under key 'reports/q3' in store 'archive'"
    assert (missing.key, missing.store) == ("reports/q3", "archive")

    refused = InvalidKeyError("../x", "it leads out of the store")
    assert str(refused) == "'../x' cannot be a key: it leads out of the store"
    assert (refused.key, refused.reason) == ("../x", "it leads out of the store")

    wrong = InvalidMetadataError("metadata['tags'][0]", "is a set")
    assert str(wrong).startswith("metadata['tags'][0] is a set; metadata must be JSON")
    assert wrong.place == "metadata['tags'][0]"

    replaced = ConflictError("a", "archive")
    assert "'a' in store 'archive' was replaced" in str(replaced)
    assert (replaced.key, replaced.store) == ("a", "archive")

    busy = TransactionTimeoutError("archive", "it did not end within 1 s")
    assert str(busy) == "store 'archive' is in a transaction: it did not end within 1 s"
    assert busy.store == "archive"

    aborted = TransactionAbortedError("archive")
    assert "the transaction with store 'archive' was rolled back" in str(aborted)
    assert aborted.store == "archive"


def test_long_key_is_abbreviated() -> None:
    error = InvalidKeyError("x" * 5000, "it is too long")

    assert len(str(error)) < 200
    assert "(5002 characters)" in str(error)
    assert error.key == "x" * 5000
