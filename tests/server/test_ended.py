"""The totals of processes that ended before the page was served."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.server.ended import add_ended
from encore_storage.server.feed import EventFeed
from encore_storage.server.history import History
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.metrics import collectors


def test_totals_from_metrics_are_those_that_a_feed_counts() -> None:
    manager, registry = EventManager(), CollectorRegistry()
    MetricsSubscriber(registry=registry).connect(manager)
    with EventFeed().connect(manager) as feed:
        for name in ("a", "b"):
            store = DictMemoryStore(name=name, event_manager=manager)
            store.from_bytes("key", bytes(100))
            store.get_data("key").read(-1)
            store.get_data("key").close()
            with pytest.raises(ZeroDivisionError), store.transaction():
                store.from_bytes("key", bytes(10))
                raise ZeroDivisionError
            with store.transaction():
                store.from_bytes("key", bytes(7))
    collector = collectors.get(registry)
    assert collector is not None
    history = History()

    add_ended(collector.cells.values(), history)

    for stores in ((), ("a",), ("b",)):
        assert history.totals(stores) == {
            name: count for name, count in feed.totals(stores).items() if name != "missed"
        }
