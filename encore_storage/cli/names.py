"""Names of stores on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encore_events import BaseEventManager
from encore_storage.cli.errors import StoreNameError
from encore_storage.cli.source import SourceDirectory
from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore

SCHEMES = "a directory, sqlite:PATH or memory:"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


@dataclass(frozen=True)
class StoreName:
    """A store named on the command line.

    Attributes:
        text: as typed.
        scheme: 'sqlite', 'memory', or 'directory' for a path.
        path: of the directory or the database; None in memory.
    """

    text: str
    scheme: str
    path: Path | None

    @classmethod
    def parse(cls, text: str) -> StoreName:
        """Parse the name of a store. Raises StoreNameError.

        >>> StoreName.parse("sqlite:archive.db").scheme
        'sqlite'
        """
        if not text:
            raise StoreNameError(f"{text!r} is not a store: give {SCHEMES}")
        matched = _SCHEME.fullmatch(text)
        if matched is None or Path(text).drive:
            return cls(text, "directory", Path(text))
        scheme, rest = matched.groups()
        if scheme == "memory" and not rest:
            return cls(text, scheme, None)
        if scheme == "sqlite" and rest:
            return cls(text, scheme, Path(rest))
        hint = f" (if you mean the directory, give ./{text})" if Path(text).is_dir() else ""
        raise StoreNameError(f"{text!r} is not a store: give {SCHEMES}{hint}")

    def files(self) -> list[Path]:
        """Return the absolute paths of the files and directories that hold the store."""
        if self.path is None:
            return []
        path = Path(os.path.realpath(self.path))  # Path.resolve raises on circular links
        return [path] if self.scheme == "directory" else [path, Path(f"{path}-wal"), Path(f"{path}-shm")]

    def open_source(self, event_manager: BaseEventManager, *, own: Sequence[Path] = ()) -> AbstractStore:
        """Open an existing store; a directory skips the paths `own`, which the command writes. Raises StoreError."""
        if self.scheme == "sqlite" and self.path is not None and not _is_filled(self.path):
            raise StoreNameError(f"there is no database {str(self.path)!r} to read from")
        if self.scheme == "directory" and self.path is not None:
            if not self.path.is_dir():
                raise StoreNameError(f"there is no directory {str(self.path)!r} to read from")
            return SourceDirectory(self.path, own=own, name="source", event_manager=event_manager)
        return self._open("source", event_manager)

    def open_target(self, event_manager: BaseEventManager) -> AbstractStore:
        """Open the store, creating it if it does not exist. Raises StoreError."""
        return self._open("target", event_manager)

    def _open(self, role: str, event_manager: BaseEventManager) -> AbstractStore:
        if self.path is None:
            return DictMemoryStore(name=role, event_manager=event_manager)
        if self.scheme == "sqlite":
            return SqliteStore(str(self.path), name=role, event_manager=event_manager)
        return FileSystemStore(self.path, name=role, event_manager=event_manager)


def _is_filled(path: Path) -> bool:
    """Return whether the file is not empty: SQLite would turn an empty file into a database."""
    return path.is_file() and path.stat().st_size > 0
