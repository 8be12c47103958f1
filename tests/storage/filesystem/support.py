"""What the tests of the file system store share, and say by name."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from encore_events import EventManager
from encore_storage.stores import FileSystemStore


class Cut(BaseException):
    """The process ends here, as far as the store can tell."""


class Meddling:
    """A file that gives two chunks, and does something in between."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._chunks = self._parts(act)

    def _parts(self, act: Callable[[], object]) -> Iterator[bytes]:
        yield b"one "
        act()
        yield b"two"

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


def store_in(directory: Path, **options: Any) -> FileSystemStore:
    """A store that emits on an event manager of its own."""
    return FileSystemStore(directory, event_manager=EventManager(), **options)


def put(store: FileSystemStore, key: str, data: bytes, **metadata: Any) -> None:
    store.set(key, (io.BytesIO(data), metadata))


def pair(store: FileSystemStore, key: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes and the metadata of one look-up."""
    with store.get(key) as value:
        return value.data.read(-1), value.metadata


def files_in(directory: Path) -> dict[str, bytes]:
    """All that is in a directory: the files with their bytes, the others without."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }


def scratch_in(root: Path) -> list[str]:
    """The names of the files that are half written, or were."""
    scratch = root / ".encore" / "tmp"
    return [path.name for path in scratch.iterdir()] if scratch.exists() else []


def left_over(root: Path) -> list[str]:
    """What is half done in the store's own directory: half-written files, marks, and metadata that has a next."""
    own = root / ".encore"
    lock = own / "lock"
    marks = lock.read_text(encoding="ascii").split() if lock.exists() else []
    return [
        *scratch_in(root),
        *marks,
        *(path.name for path in (own / "metadata").glob("*") if b'"next"' in path.read_bytes()),
    ]
