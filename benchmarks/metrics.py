"""The cost of metrics in a get, compared with writing the same samples directly."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.catalogue import OPERATION_DURATION, VALUE_SIZE

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


def benches() -> Iterator[Bench]:
    """Yield the row of metrics."""
    yield Bench("metrics added to a get of 4 KiB, against its samples by labels(...)", added_to_a_get, 0.65)


def added_to_a_get() -> tuple[Snippet, Snippet]:
    """Compare a get with metrics, less a get without listeners, with six direct writes of the same samples."""
    watched = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(watched)
    return _get(watched, less=_get(EventManager())), _write_by_hand()


def _get(manager: EventManager, less: Snippet | None = None) -> Snippet:
    store = DictMemoryStore(name="bench", event_manager=manager)
    store.from_bytes("key", bytes(SIZE))
    return Snippet("store.get_data('key').read()", less=less, store=store)


def _write_by_hand() -> Snippet:
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
