"""Caps on the values of open labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.labels import MAX_VALUES
from tests.subscribers.support import end, sample, samples, start, step


def overflows_of(registry: CollectorRegistry, label: str) -> float | None:
    return sample(registry, "label_overflow_total", label=label)


def test_overflows_start_at_zero(registry: CollectorRegistry, metrics: MetricsSubscriber) -> None:
    overflows = samples(registry, "label_overflow_total")

    assert ("store",) in overflows
    assert set(overflows.values()) == {0}


def test_store_beyond_the_cap_is_overflow(manager: EventManager, registry: CollectorRegistry) -> None:
    with MetricsSubscriber(registry=registry, max_stores=2).connect(manager):
        for name in ("a", "b", "c", "d", "a"):
            DictMemoryStore(name=name, event_manager=manager).exists("key")

    counts = samples(registry, "operation_duration_seconds_count")
    stores = {labels[0]: count for labels, count in counts.items() if labels[2] == "ok"}
    assert stores == {"a": 2, "b": 1, "_overflow": 2}
    assert samples(registry, "store_info") == {("a", "memory"): 1, ("b", "memory"): 1}


def test_each_overflowing_event_is_counted_with_its_operation(
    manager: EventManager, registry: CollectorRegistry
) -> None:
    with MetricsSubscriber(registry=registry, max_stores=0).connect(manager):
        manager.emit(start())
        assert sample(registry, "operations_in_progress", store="_overflow", operation="get") == 1
        manager.emit(step())
        manager.emit(end())

    assert overflows_of(registry, "store") == 3
    labels = {"store": "_overflow", "operation": "get"}
    assert sample(registry, "operations_in_progress", **labels) == 0
    assert sample(registry, "transferred_bytes_total", **labels, direction="read") == 20


def test_store_keeps_its_label(manager: EventManager, registry: CollectorRegistry) -> None:
    with MetricsSubscriber(registry=registry, max_stores=1).connect(manager):
        manager.emit(end())
        manager.emit(end(store="another"))
        manager.emit(end())

    assert sample(registry, "operation_duration_seconds_count", store="archive", operation="get", outcome="ok") == 2


def test_default_cap_is_200_stores(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber
) -> None:
    for number in range(202):
        manager.emit(end(store=str(number)))

    assert MAX_VALUES == 200
    assert len(samples(registry, "store_info")) == 200
    assert overflows_of(registry, "store") == 2


def test_listeners_are_capped(manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber) -> None:
    for number in range(MAX_VALUES + 3):
        listener = type(f"Listener{number}", (), {})
        manager.emit(ListenerErrorEvent(event=BaseEvent(), listener=listener, error=OSError()))

    labels = {"event": "BaseEvent", "listener": "_overflow"}
    assert registry.get_sample_value("encore_events_listener_errors_total", labels) == 3
    assert overflows_of(registry, "listener") == 3
