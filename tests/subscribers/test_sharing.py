"""Many MetricsSubscribers that share a registry."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.registry import Collector

from encore_events import EventManager, EventsDroppedEvent
from encore_events.errors import ManagerClosedError
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from tests.subscribers.support import sample, start


def sets(registry: CollectorRegistry) -> float | None:
    return sample(registry, "operation_duration_seconds_count", store="archive", operation="set", outcome="ok")


def test_two_event_managers_are_counted_together(manager: EventManager, registry: CollectorRegistry) -> None:
    for one in (manager, EventManager()):
        MetricsSubscriber(registry=registry).connect(one)
        DictMemoryStore(name="archive", event_manager=one).from_bytes("a", b"1")

    assert sets(registry) == 2


def test_operations_in_progress_are_added_up(manager: EventManager, registry: CollectorRegistry) -> None:
    for one in (manager, other := EventManager()):
        MetricsSubscriber(registry=registry).connect(one)
        one.emit(start())

    assert sample(registry, "operations_in_progress", store="archive", operation="get") == 2
    other.close()


def test_two_registries_count_separately(manager: EventManager, store: DictMemoryStore) -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for registry in registries:
        MetricsSubscriber(registry=registry).connect(manager)

    store.from_bytes("a", b"1")

    assert [sets(registry) for registry in registries] == [1, 1]


def test_second_subscriber_to_a_manager_counts_nothing_twice(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    MetricsSubscriber(registry=registry).connect(manager)
    MetricsSubscriber(registry=registry).connect(manager)

    store.from_bytes("a", b"1")

    assert sets(registry) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_counting_continues_until_the_last_subscriber_disconnects(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore, first: int
) -> None:
    subscribers = [MetricsSubscriber(registry=registry).connect(manager) for _ in range(2)]

    subscribers.pop(first).disconnect()
    store.from_bytes("a", b"1")
    assert sets(registry) == 1

    subscribers.pop().disconnect()
    store.from_bytes("a", b"2")
    assert sets(registry) == 1
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_counts_continue_from_an_earlier_subscriber(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    for _ in range(2):
        with MetricsSubscriber(registry=registry).connect(manager):
            store.from_bytes("a", b"1")

    assert sets(registry) == 2


def test_subscriber_counts_even_if_nobody_keeps_it(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    MetricsSubscriber(registry=registry).connect(manager)
    gc.collect()

    store.from_bytes("a", b"1")

    assert sets(registry) == 1


def test_registry_keeps_no_event_manager_alive(registry: CollectorRegistry) -> None:
    manager = EventManager()
    MetricsSubscriber(registry=registry).connect(manager)
    manager.emit(start())
    collected = weakref.ref(manager)

    del manager
    gc.collect()

    assert collected() is None
    assert sample(registry, "operations_in_progress", store="archive", operation="get") == 0


def test_closed_event_manager_is_refused_each_time(registry: CollectorRegistry) -> None:
    closed = EventManager()
    closed.close()
    subscriber = MetricsSubscriber(registry=registry)

    for _ in range(2):
        with pytest.raises(ManagerClosedError):
            subscriber.connect(closed)
    with subscriber.connect(EventManager()) as connected:
        assert connected is subscriber


class SlowRegistry(CollectorRegistry):
    """A registry that waits for a second thread before it registers a collector."""

    def __init__(self) -> None:
        super().__init__()
        self._second = threading.Barrier(2)

    def register(self, collector: Collector) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            self._second.wait(0.1)
        super().register(collector)


def test_threads_that_connect_at_once_register_one_collector() -> None:
    registry, together = SlowRegistry(), threading.Barrier(4)

    def connect(manager: EventManager) -> None:
        together.wait()
        MetricsSubscriber(registry=registry).connect(manager)
        DictMemoryStore(name="archive", event_manager=manager).from_bytes("a", b"1")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(connect, [EventManager() for _ in range(4)]))

    assert sets(registry) == 4


@pytest.mark.parametrize("position", range(8))
def test_tracer_may_scrape_and_join_in_another_thread(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore, position: int
) -> None:
    connects, joined = itertools.count(), list[MetricsSubscriber]()

    def scrape_and_join() -> MetricsSubscriber:
        generate_latest(registry)
        return MetricsSubscriber(registry=registry).connect(manager)

    def trace(*_: object) -> None:
        if threading.current_thread() is threading.main_thread() and next(connects) == position:
            joined.append(pool.submit(scrape_and_join).result(10))

    with ThreadPoolExecutor(1) as pool:
        manager.set_trace(trace)
        first = MetricsSubscriber(registry=registry).connect(manager)
        manager.set_trace(None)

    store.from_bytes("a", b"1")
    assert sets(registry) == 1
    first.disconnect()
    store.from_bytes("a", b"2")
    assert sample(registry, "key_changes_total", store="archive", action="update") == 1
    joined[0].disconnect()
    assert repr(manager) == "<EventManager: 0 listeners>"


@pytest.mark.parametrize("position", range(8))
def test_connect_interrupted_while_another_thread_joins_keeps_the_other_connected(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore, position: int
) -> None:
    connects, joined = itertools.count(), list[MetricsSubscriber]()

    def trace(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            connected = next(connects)
            if connected == position:
                joined.append(pool.submit(MetricsSubscriber(registry=registry).connect, manager).result(10))
            if connected == 7:
                raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        manager.set_trace(trace)
        with pytest.raises(KeyboardInterrupt):
            MetricsSubscriber(registry=registry).connect(manager)
        manager.set_trace(None)

    store.from_bytes("a", b"1")
    manager.emit(EventsDroppedEvent(queue="worker", reason="exit", count=3))
    assert sets(registry) == 1
    assert sample(registry, "key_changes_total", store="archive", action="set") == 1
    assert registry.get_sample_value("encore_events_dropped_total", {"queue": "worker", "reason": "exit"}) == 3
    joined[0].disconnect()
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_threads_that_join_and_leave_at_once_count_each_event_once(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    together = threading.Barrier(4)

    def join_and_leave() -> None:
        together.wait()
        for _ in range(100):
            with MetricsSubscriber(registry=registry).connect(manager):
                store.exists("a")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(join_and_leave) for _ in range(4)]:
            done.result()

    assert (
        sample(registry, "operation_duration_seconds_count", store="archive", operation="exists", outcome="ok") == 400
    )
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_taken_metric_name_raises_value_error(manager: EventManager, registry: CollectorRegistry) -> None:
    Counter("encore_storage_transactions", "Somebody else's.", registry=registry)

    with pytest.raises(ValueError, match="encore_storage_transactions_total"):
        MetricsSubscriber(registry=registry).connect(manager)
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_repr_of_the_collector_has_the_number_of_event_managers(
    manager: EventManager, registry: CollectorRegistry
) -> None:
    MetricsSubscriber(registry=registry).connect(manager)

    (collector,) = {type(one): one for one in registry._collector_to_names}.values()
    assert repr(collector) == "<metrics of Encore, event managers observed: 1>"
