"""The store that keeps values in an SQLite database."""

from encore_storage.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
