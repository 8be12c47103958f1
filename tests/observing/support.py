"""A foreign client: it has slots, no base class of Encore, and an error of its own for a miss."""

from __future__ import annotations

from encore_events import BaseEventManager
from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.observing import StoreObserver

DATA = b"one\ntwo\nthree"


class NoSuchFileError(Exception):
    """The client's error for a missing key."""


class Client:
    """A foreign client, which knows nothing of Encore and takes no attributes."""

    __slots__ = ("files", "observer")

    def __init__(self, event_manager: BaseEventManager) -> None:
        self.files: dict[str, bytes] = {"a": DATA}
        self.observer = StoreObserver(
            "invoices", backend="sftp", event_manager=event_manager, source=self, misses=(NoSuchFileError,)
        )

    def fetch(self, name: str, error: BaseException | None = None) -> bytes:
        with self.observer.operation("get", name, direction="read") as operation:
            if name not in self.files:
                raise NoSuchFileError(name)
            for start in range(0, len(self.files[name]), 5):
                operation.count(len(self.files[name][start : start + 5]))
                if error is not None:
                    raise error
            return self.files[name]

    def store(self, name: str, data: bytes) -> None:
        with self.observer.operation("set", name, direction="write", steps=len(data)) as operation:
            self.files[name] = data
            operation.count(len(data))
        self.observer.changed("set", name)


def ended(recorder: EventRecorder) -> StoreProgressEndEvent:
    """Return the End event of the only operation, after checking its Start and its deltas."""
    recorder.one(StoreProgressStartEvent)
    end = recorder.one(StoreProgressEndEvent)
    assert sum(event.delta for event in recorder.of(StoreProgressStepEvent)) + end.delta == end.bytes
    for name in ("source", "store", "operation", "direction", "key", "transaction_id", "operation_id"):
        assert len({getattr(event, name) for event in recorder.of(StoreProgressEvent)}) == 1
    return end
