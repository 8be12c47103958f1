"""The store that keeps values in the files of a directory."""

from encore_storage.stores.filesystem.store import FileSystemStore

__all__ = ["FileSystemStore"]
