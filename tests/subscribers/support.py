"""Helpers for the tests of subscribers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent, StoreProgressStepEvent
from encore_storage.processes.cell_directory import CellDirectory

STORAGE = "encore_storage_"


class FakeClock:
    """A clock that advances on request."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class SmallGroup(NamedTuple):
    """A group of processes that shares `cells`, or none."""

    name: str = "group"
    cells: CellDirectory | None = None


class BrokenSource:
    """A file that returns a chunk and then raises."""

    def __init__(self, error: BaseException, chunk: bytes = b"12345") -> None:
        self._chunks: Iterator[bytes] = iter([chunk])
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise self._error


class Incomparable:
    """An object that raises at each comparison, and all of which have the same hash."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ValueError(other)


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return a sample of a storage metric, or None if there is no such series."""
    return registry.get_sample_value(STORAGE + name, labels)


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return all samples of that name, by their label values in the order of the catalogue."""
    return {
        tuple(one.labels.values()): one.value
        for family in registry.collect()
        for one in family.samples
        if one.name == STORAGE + name
    }


IDENTITY = {"operation_id": "1", "message": "get 'a'", "store": "archive", "operation": "get", "direction": "read"}


def start(**attributes: Any) -> StoreProgressStartEvent:
    """Return the start of a read of the store archive."""
    return StoreProgressStartEvent(**{**IDENTITY, "timestamp": 0.0, **attributes})


def step(**attributes: Any) -> StoreProgressStepEvent:
    """Return a step of 10 bytes of that read."""
    return StoreProgressStepEvent(**{**IDENTITY, "step": 10, "delta": 10, **attributes})


def end(**attributes: Any) -> StoreProgressEndEvent:
    """Return the end of that read, after 10 bytes and a second, without a step."""
    defaults = {"outcome": "ok", "exit_state": "normal", "bytes": 10, "delta": 10, "duration": 1.0}
    return StoreProgressEndEvent(**{**IDENTITY, **defaults, **attributes})
