"""What the tests of fsspec share: file systems in memory, and the events of their operations."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
)


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
