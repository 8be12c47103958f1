"""The stores that Encore brings, one in each module."""

from encore_storage.stores.filesystem.store import FileSystemStore
from encore_storage.stores.memory import DictMemoryStore
from encore_storage.stores.sqlite.store import SqliteStore

__all__ = ["DictMemoryStore", "FileSystemStore", "SqliteStore"]
