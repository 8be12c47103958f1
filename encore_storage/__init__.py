"""Storage that is observed: stores, the utilities to write one, and what tells what they do."""

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
)
from encore_storage.monitor import Monitor, monitor
from encore_storage.store import AbstractStore
from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.value import Entry, Value
from encore_storage.writing import Change

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
    "Value",
    "monitor",
]
