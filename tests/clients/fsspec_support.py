"""Helpers for the tests of fsspec: file systems in memory, and the events of their operations."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
)


class BufferedFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system with the buffered files of remote ones: blocks of 4 bytes, uploads in parts."""

    protocol = "buffered"
    fail_at: str | None = None

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        options.setdefault("cache_type", "readahead")
        return BufferedFile(self, path, mode, block_size or 4, **options)


class BufferedFile(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        if self.fs.fail_at == "fetch":
            raise ConnectionResetError("reset")
        return bytes(super()._fetch_range(start, end))

    def _initiate_upload(self) -> None:
        self.parts = b""

    def _upload_chunk(self, final: bool = False) -> None:
        if self.fs.fail_at == ("final" if final else "part"):
            raise ConnectionResetError("reset")
        self.parts += self.buffer.getvalue()
        if final and self.autocommit:
            self.commit()

    def commit(self) -> None:
        MemoryFile(self.fs, self.path, self.parts).commit()


def make(**options: Any) -> Any:
    """Return a file system in memory that shares nothing with others."""
    return MemoryFileSystem(skip_instance_cache=True, global_store=False, **options)


def ends(recorder: EventRecorder) -> list[tuple[Any, ...]]:
    return [(end.operation, end.key, end.outcome, end.bytes, end.items) for end in recorder.of(StoreProgressEndEvent)]


def changes(recorder: EventRecorder) -> list[tuple[str, str | None]]:
    return [(change.action, change.key) for change in recorder.of(StoreModificationEvent)]


def check(recorder: EventRecorder) -> None:
    """Check that each operation started and ended once, and that its deltas sum to its bytes."""
    starts = [event.operation_id for event in recorder.of(StoreProgressStartEvent)]
    assert sorted(starts) == sorted({end.operation_id for end in recorder.of(StoreProgressEndEvent)})
    assert len(recorder.of(StoreProgressEndEvent)) == len(starts)
    for end in recorder.of(StoreProgressEndEvent):
        own = [event for event in recorder.of(StoreProgressEvent) if event.operation_id == end.operation_id]
        assert sum(getattr(event, "delta", 0) for event in own) == end.bytes
