"""Helpers of the tests of FileSystemStore."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from encore_events import EventManager
from encore_storage.stores import FileSystemStore


class Killed(BaseException):
    """A stand-in for the end of the process."""


class ActingSource:
    """A source of two chunks, which runs an action in between."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._chunks = self._parts(act)

    def _parts(self, act: Callable[[], object]) -> Iterator[bytes]:
        yield b"one "
        act()
        yield b"two"

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


def store_in(directory: Path, **options: Any) -> FileSystemStore:
    """Return a store with an event manager of its own."""
    return FileSystemStore(directory, event_manager=EventManager(), **options)


def put(store: FileSystemStore, key: str, data: bytes, **metadata: Any) -> None:
    store.set(key, (io.BytesIO(data), metadata))


def pair(store: FileSystemStore, key: str) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes and the metadata of one look-up."""
    with store.get(key) as value:
        return value.data.read(-1), value.metadata


def files_in(directory: Path) -> dict[str, bytes]:
    """Return all paths below a directory, with the bytes of the files."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }


def metadata_files(root: Path) -> list[Path]:
    """Return the paths of the metadata files."""
    return sorted((root / ".encore" / "metadata").glob("*"))


def scratch_in(root: Path) -> list[str]:
    """Return the names of the temporary files."""
    scratch = root / ".encore" / "tmp"
    return [path.name for path in scratch.iterdir()] if scratch.exists() else []


def unfinished(root: Path) -> list[str]:
    """Return temporary files, marks, and metadata files with an unfinished change."""
    own = root / ".encore"
    lock = own / "lock"
    marks = lock.read_text(encoding="ascii").split() if lock.exists() else []
    return [
        *scratch_in(root),
        *marks,
        *(path.name for path in (own / "metadata").glob("*") if b'"next"' in path.read_bytes()),
    ]
