"""Observed storage: stores, and `monitor()`, which shows what they do."""

from typing import TYPE_CHECKING

from encore_events.lazy import lazy_names

if TYPE_CHECKING:
    from encore_storage.clients import UnsupportedClientError, observe, unobserve
    from encore_storage.errors import (
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
    )
    from encore_storage.monitoring import Monitor, monitor
    from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
    from encore_storage.stores.abstract import AbstractStore
    from encore_storage.transactions.writing import Change
    from encore_storage.value import Entry, ListedKey, Value
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "clients": (
                "UnsupportedClientError",
                "observe",
                "unobserve",
            ),
            "errors": (
                "ConflictError",
                "ForkedStoreError",
                "IntegrityError",
                "InvalidKeyError",
                "InvalidKeyTypeError",
                "InvalidMetadataError",
                "KeyNotFoundError",
                "OpenDatabaseError",
                "StoreConnectionError",
                "StoreError",
                "StoreFullError",
                "StoreReadOnlyError",
                "TransactionAbortedError",
                "TransactionError",
                "TransactionTimeoutError",
                "UnpicklableError",
            ),
            "monitoring": (
                "Monitor",
                "monitor",
            ),
            "stores": (
                "DictMemoryStore",
                "FileSystemStore",
                "SqliteStore",
            ),
            "stores.abstract": ("AbstractStore",),
            "transactions.writing": ("Change",),
            "value": (
                "Entry",
                "ListedKey",
                "Value",
            ),
        },
    )

__all__ = [
    "AbstractStore",
    "Change",
    "ConflictError",
    "DictMemoryStore",
    "Entry",
    "FileSystemStore",
    "ForkedStoreError",
    "IntegrityError",
    "InvalidKeyError",
    "InvalidKeyTypeError",
    "InvalidMetadataError",
    "KeyNotFoundError",
    "ListedKey",
    "Monitor",
    "OpenDatabaseError",
    "SqliteStore",
    "StoreConnectionError",
    "StoreError",
    "StoreFullError",
    "StoreReadOnlyError",
    "TransactionAbortedError",
    "TransactionError",
    "TransactionTimeoutError",
    "UnpicklableError",
    "UnsupportedClientError",
    "Value",
    "monitor",
    "observe",
    "unobserve",
]
