"""The cost of a page in a get."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage.server import EventFeed
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber

SIZE = 4096


def benches() -> Iterator[Bench]:
    """Yield the row of the page."""
    yield Bench("a page added to a get of 4 KiB, in the thread of the store, against metrics added to it", added, 0.5)


def added() -> tuple[Snippet, Snippet]:
    """Compare the cost of the page with that of metrics.

    The page has its own thread, which does not run during the fastest rounds; only the thread of the store is measured.
    """
    shown, counted = _with_metrics(), _with_metrics()
    EventFeed().connect(shown)
    return _get(shown, less=_get(counted)), _get(counted, less=_get(EventManager()))


def _with_metrics() -> EventManager:
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    return manager


def _get(manager: EventManager, less: Snippet | None = None) -> Snippet:
    store = DictMemoryStore(name="bench", event_manager=manager)
    store.from_bytes("key", bytes(SIZE))
    return Snippet("store.get_data('key').read()", less=less, store=store)
