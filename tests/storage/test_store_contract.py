"""Our own stores pass the contract of stores."""

from __future__ import annotations

from typing import Any

from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing import StoreContract


class TestDictMemoryStore(StoreContract):
    def make_store(self, **arguments: Any) -> AbstractStore:
        return DictMemoryStore(**arguments)


class TestFileSystemStore(StoreContract):
    def make_store(self, *, name: str, **arguments: Any) -> AbstractStore:
        return FileSystemStore(self.directory / name, create=True, name=name, **arguments)


class TestSqliteStore(StoreContract):
    def make_store(self, *, name: str, **arguments: Any) -> AbstractStore:
        return SqliteStore(self.directory / name, name=name, **arguments)


class TestSqliteStoreInMemory(StoreContract):
    def make_store(self, **arguments: Any) -> AbstractStore:
        return SqliteStore(":memory:", **arguments)
