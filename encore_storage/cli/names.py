"""The names that stores have on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encore_events import BaseEventManager
from encore_storage.cli.source import SourceDirectory
from encore_storage.errors import StoreError
from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore

SCHEMES = "a directory, sqlite:PATH or memory:"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


class StoreNameError(StoreError, ValueError):
    """What was given on the command line names no store."""


@dataclass(frozen=True)
class StoreName:
    """A store as the command line names it.

    Attributes:
        text: as it was typed.
        scheme: 'sqlite', 'memory', or 'directory' for a path.
        path: where it is; None in memory.
    """

    text: str
    scheme: str
    path: Path | None

    @classmethod
    def parse(cls, text: str) -> StoreName:
        """The store that `text` names.

        >>> StoreName.parse("sqlite:archive.db").scheme
        'sqlite'

        Raises:
            StoreNameError: the scheme is none of those that there are, or nothing follows it.
        """
        if not text:
            raise StoreNameError(f"an empty name is no store: give {SCHEMES}")
        matched = _SCHEME.fullmatch(text)
        if matched is None or Path(text).drive:
            return cls(text, "directory", Path(text))
        scheme, rest = matched.groups()
        if scheme == "memory" and not rest:
            return cls(text, scheme, None)
        if scheme == "sqlite" and rest:
            return cls(text, scheme, Path(rest))
        hint = f" (a directory of that name is ./{text})" if Path(text).is_dir() else ""
        raise StoreNameError(f"{text!r} is no store: give {SCHEMES}{hint}")

    def files(self) -> list[Path]:
        """The files and folders in which the store keeps what it keeps, absolute."""
        if self.path is None:
            return []
        path = Path(os.path.realpath(self.path))  # Path.resolve fails where links go round in a circle
        return [path] if self.scheme == "directory" else [path, Path(f"{path}-wal"), Path(f"{path}-shm")]

    def open_source(self, event_manager: BaseEventManager, *, own: Sequence[Path] = ()) -> AbstractStore:
        """Open a store that is there already.

        Args:
            event_manager: where it emits.
            own: what is to be left out, if it is a directory: what the reader itself writes.

        Raises:
            StoreError: it isn't there, or can't be opened.
        """
        if self.scheme == "sqlite" and self.path is not None and not _is_filled(self.path):
            raise StoreNameError(f"there is no database {str(self.path)!r} to read from")
        if self.scheme == "directory" and self.path is not None:
            if not self.path.is_dir():
                raise StoreNameError(f"there is no directory {str(self.path)!r} to read from")
            return SourceDirectory(self.path, own=own, name="source", event_manager=event_manager)
        return self._open("source", event_manager)

    def open_target(self, event_manager: BaseEventManager) -> AbstractStore:
        """Open a store, made if it isn't there.

        Raises:
            StoreError: it can't be opened or made.
        """
        return self._open("target", event_manager)

    def _open(self, role: str, event_manager: BaseEventManager) -> AbstractStore:
        if self.path is None:
            return DictMemoryStore(name=role, event_manager=event_manager)
        if self.scheme == "sqlite":
            return SqliteStore(str(self.path), name=role, event_manager=event_manager)
        return FileSystemStore(self.path, name=role, event_manager=event_manager)


def _is_filled(path: Path) -> bool:
    """Whether it is a file with something in it: SQLite would make a database of an empty one."""
    return path.is_file() and path.stat().st_size > 0
