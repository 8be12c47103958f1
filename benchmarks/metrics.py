"""The cost of metrics in an operation, compared with writing the same samples directly, or to files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from benchmarks.harness import Bench, Snippet
from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber, blocks
from encore_storage.subscribers.catalogue import OPERATION_DURATION, SECONDS, SIZES, VALUE_SIZE
from encore_storage.subscribers.ends import Ends
from encore_storage.subscribers.gauges import InProgressGauge

SIZE = 4096
OPERATION, TRANSFER, BOTH = ("store", "operation"), ("store", "direction"), ("store", "operation", "direction")

WRITE_BY_HAND = """
in_progress.labels('bench', 'get').inc()
duration.labels('bench', 'get', 'ok').observe(0.00005)
transferred.labels('bench', 'get', 'read').inc(4096)
value_size.labels('bench', 'read').observe(4096)
last_success.labels('bench', 'read').set_to_current_time()
in_progress.labels('bench', 'get').dec()
"""


class Group(NamedTuple):
    """A group of processes that shares `cells`, or none."""

    name: str
    cells: CellDirectory | None


def benches() -> Iterator[Bench]:
    """Yield the rows of metrics in a get or set."""
    yield Bench("metrics added to a get of 4 KiB, against its samples by labels(...)", added_to_a_get, 0.25)
    yield Bench("metrics added to exists, against the samples of a get by labels(...)", added_to_exists, 0.2)
    yield Bench("the events of a get counted, once they exist, against its samples by labels(...)", counted)
    yield Bench("a set and a get with metrics in a file, against the same in private memory", in_a_file, 1.1)
    yield Bench("an end counted in a file, against its samples in prometheus_client's multiprocess mode", bare, 0.3)


def added_to_a_get() -> tuple[Snippet, Snippet]:
    """Compare a get with metrics, less a get without listeners, with six direct writes of the same samples."""
    return get(with_metrics(), less=get(EventManager())), write_by_hand()


def added_to_exists() -> tuple[Snippet, Snippet]:
    """Compare the same of an operation without bytes."""
    return _exists(with_metrics(), less=_exists(EventManager())), write_by_hand()


def counted() -> tuple[Snippet, Snippet]:
    """Compare the listeners of the metrics with six direct writes of the same samples."""
    manager = with_metrics()
    return Snippet("emit(start); emit(end)", emit=manager.emit, **events_of_a_get(), less=_emits()), write_by_hand()


def with_metrics() -> EventManager:
    """Return an event manager with metrics."""
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    return manager


def events_of_a_get() -> dict[str, Any]:
    """Return the start and the end of a get of 4 KiB."""
    manager = EventManager()
    store = store_on(manager)
    with EventRecorder(manager) as recorder:
        store.get_data("key").read()
    return {"start": recorder.one(StoreProgressStartEvent), "end": recorder.one(StoreProgressEndEvent)}


def store_on(manager: EventManager) -> DictMemoryStore:
    """Return a store with a value of 4 KiB."""
    store = DictMemoryStore(name="bench", event_manager=manager)
    store.from_bytes("key", bytes(SIZE))
    return store


def get(manager: EventManager, less: Snippet | None = None) -> Snippet:
    """Return a get of 4 KiB."""
    return Snippet("store.get_data('key').read()", less=less, store=store_on(manager))


def _exists(manager: EventManager, less: Snippet | None = None) -> Snippet:
    return Snippet("store.exists('key')", less=less, store=store_on(manager))


def _emits() -> Snippet:
    """Return the emits of the events of a get to listeners that do nothing."""
    manager = EventManager()
    manager.connect(BaseEvent, lambda _: None)
    return Snippet("emit(start); emit(end)", emit=manager.emit, **events_of_a_get())


def in_a_file() -> tuple[Snippet, Snippet]:
    """Compare a set and a get with metrics in a mapped file with the same in private memory."""
    return _set_and_get(Group("bench", CellDirectory(Path(mkdtemp())))), _set_and_get(Group("bench", None))


def bare() -> tuple[Snippet, Snippet]:
    """Compare counting the end of a get in a mapped file with writing the same samples in multiprocess mode."""
    cells = Cells()
    cells.move_to(CellDirectory(Path(mkdtemp())).create())
    gauge = InProgressGauge(cells, cells.block(blocks.in_progress("bench", "get", "read", 1)))
    ends = Ends(cells, gauge, "bench", "get", "read", "ok")
    event = StoreProgressEndEvent(
        operation_id="1", outcome="ok", bytes=SIZE, steps=SIZE, delta=SIZE, duration=0.00005, store="bench"
    )
    return Snippet("ends.count(event, 1.0)", ends=ends, event=event), _write_to_files()


def _set_and_get(group: Group) -> Snippet:
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry(), group=group).connect(manager)
    store = store_on(manager)
    return Snippet("store.from_bytes('key', data); store.get_data('key').read()", store=store, data=bytes(SIZE))


def write_by_hand() -> Snippet:
    """Return six direct writes of the samples of a get."""
    registry = CollectorRegistry()
    return Snippet(
        WRITE_BY_HAND,
        in_progress=Gauge("in_progress", "now", OPERATION, registry=registry),
        duration=Histogram(
            "duration_seconds", "time", (*OPERATION, "outcome"), buckets=OPERATION_DURATION.buckets, registry=registry
        ),
        transferred=Counter("transferred_bytes", "moved", BOTH, registry=registry),
        value_size=Histogram("value_size_bytes", "size", TRANSFER, buckets=VALUE_SIZE.buckets, registry=registry),
        last_success=Gauge("last_success_timestamp_seconds", "when", TRANSFER, registry=registry),
    )


def _write_to_files() -> Snippet:
    registry, plain = CollectorRegistry(), values.ValueClass
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = mkdtemp()
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # it has no type hints
    try:
        return Snippet(
            "duration.observe(0.00005); transferred.inc(4096); value_size.observe(4096); last_success.set(1.0)",
            duration=Histogram(
                "duration_seconds", "time", (*OPERATION, "outcome"), buckets=SECONDS, registry=registry
            ).labels("bench", "get", "ok"),
            transferred=Counter("transferred_bytes", "moved", BOTH, registry=registry).labels("bench", "get", "read"),
            value_size=Histogram("value_size_bytes", "size", TRANSFER, buckets=SIZES, registry=registry).labels(
                "bench", "read"
            ),
            last_success=Gauge(
                "last_success", "when", TRANSFER, registry=registry, multiprocess_mode="mostrecent"
            ).labels("bench", "read"),
        )
    finally:
        values.ValueClass = plain
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
