"""What the tests of several subscribers use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent, StoreProgressStepEvent

STORAGE = "encore_storage_"


class FakeClock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class BrokenSource:
    """A file that gives a few bytes and then fails."""

    def __init__(self, error: BaseException, chunk: bytes = b"12345") -> None:
        self._answers: Iterator[bytes] = iter([chunk])
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        for chunk in self._answers:
            return chunk
        raise self._error


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """One sample of a metric of storage, or None where there is no such series."""
    return registry.get_sample_value(STORAGE + name, labels)


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """All samples of that name, by the values of their labels in the order of the catalogue."""
    return {
        tuple(one.labels.values()): one.value
        for family in registry.collect()
        for one in family.samples
        if one.name == STORAGE + name
    }


IDENTITY = {"operation_id": "1", "message": "get 'a'", "store": "archive", "operation": "get", "direction": "read"}


def start(**attributes: Any) -> StoreProgressStartEvent:
    """The start of a read of the store named archive."""
    return StoreProgressStartEvent(**{**IDENTITY, "timestamp": 0.0, **attributes})


def step(**attributes: Any) -> StoreProgressStepEvent:
    """10 bytes of it."""
    return StoreProgressStepEvent(**{**IDENTITY, "step": 10, "delta": 10, **attributes})


def end(**attributes: Any) -> StoreProgressEndEvent:
    """The end of it, after 10 bytes and a second, of which no step has told."""
    told = {"outcome": "ok", "exit_state": "normal", "bytes": 10, "delta": 10, "duration": 1.0}
    return StoreProgressEndEvent(**{**IDENTITY, **told, **attributes})
