"""Exact counts after 8 threads have run 10,000 operations each, with failures and rollbacks."""

from __future__ import annotations

import contextlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.metrics import collectors
from tests.subscribers.support import BrokenSource, FakeClock, end, samples, start

THREADS = 8
ROUNDS = 1_000
OPERATIONS_PER_ROUND = 10
ALL = THREADS * ROUNDS
HALF = ALL // 2

ENDS = {
    ("set", "ok"): 3 * ALL,
    ("set", "error"): ALL,
    ("get", "ok"): ALL,
    ("get", "miss"): ALL,
    ("get", "error"): 0,
    ("get_range", "ok"): ALL,
    ("get_range", "error"): 0,
    ("exists", "ok"): ALL,
    ("exists", "error"): 0,
    ("get_metadata", "ok"): ALL,
    ("get_metadata", "error"): 0,
    ("delete", "ok"): ALL,
    ("delete", "error"): 0,
}
EXPECTED = {
    "operation_duration_seconds_count": ENDS,
    "operations_in_progress": dict.fromkeys([(operation,) for operation, _ in ENDS], 0),
    "operation_errors_total": {("set", "other"): ALL},
    "transferred_bytes_total": {
        ("set", "write"): ALL * (8 + 5 + 2),
        ("get", "read"): ALL * 8,
        ("get_range", "read"): ALL * 3,
    },
    "value_size_bytes_count": {("write",): 3 * ALL, ("read",): ALL},
    "value_size_bytes_sum": {("write",): ALL * 10, ("read",): ALL * 8},
    "transactions_total": {
        ("committed",): HALF,
        ("rolled_back",): HALF,
        ("closed",): 0,
        ("commit_failed",): 0,
        ("rollback_failed",): 0,
    },
    "transaction_operations_sum": {("committed",): 2 * HALF, ("rolled_back",): 2 * HALF},
    "transactions_in_progress": {(): 0},
    "key_changes_total": {("set",): ALL + THREADS, ("update",): ALL - THREADS, ("delete",): ALL},
}


def run_round(store: DictMemoryStore, key: str, number: int) -> None:
    """Run ten operations of six kinds: one is a miss, one fails, two are rolled back in every other round."""
    store.from_bytes(key, b"12345678")
    store.to_bytes(key)
    store.exists(key)
    store.get_metadata(key)
    store.get_data_range(key, 2, 5).read()
    with contextlib.suppress(KeyNotFoundError):
        store.to_bytes("nowhere")
    with contextlib.suppress(OSError):
        store.set_data(key, BrokenSource(OSError("broken")))
    with contextlib.suppress(ZeroDivisionError), store.transaction():
        store.from_bytes(key, b"1")
        store.set(f"{key} too", (io.BytesIO(b"2"), {}))
        if number % 2:
            raise ZeroDivisionError
    store.delete(key)


@pytest.fixture(scope="module")
def counted() -> CollectorRegistry:
    """The registry after all threads have ended."""
    manager, registry = EventManager(), CollectorRegistry()
    store = DictMemoryStore(name="archive", event_manager=manager)
    together = threading.Barrier(THREADS)

    def work(key: str) -> None:
        together.wait()
        for number in range(ROUNDS):
            run_round(store, key, number)

    with MetricsSubscriber(registry=registry).connect(manager), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, map(str, range(THREADS))))
    return registry


def test_scenario_has_10_000_operations_in_each_of_8_threads() -> None:
    assert sum(ENDS.values()) == THREADS * ROUNDS * OPERATIONS_PER_ROUND == 80_000


@pytest.mark.parametrize("name", EXPECTED)
def test_counts_are_exact(counted: CollectorRegistry, name: str) -> None:
    assert {labels[1:]: value for labels, value in samples(counted, name).items()} == EXPECTED[name]


def test_exemplar_survives_a_clock_that_is_set_back(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber, wall_clock: FakeClock
) -> None:
    manager.emit(end(operation_id="before"))
    wall_clock.advance(-3600)
    manager.emit(end(operation_id="after"))

    found = {
        sample.exemplar.labels["operation_id"]
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert found == {"after"}


def test_names_outside_of_closed_sets_are_not_kept(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber
) -> None:
    def emit(number: int) -> None:
        odd = f"upload of file {number}"
        manager.emit(start(operation=odd, direction=odd))
        manager.emit(end(operation=odd, direction=odd, outcome=odd))
        manager.emit(StoreTransactionEndEvent(store="s", outcome=odd, transaction_id=odd, duration=1.0, operations=1))

    def kept() -> int:
        collector = collectors.get(registry)
        assert collector is not None
        (counter,) = collector._counters.values()
        caches = counter._stores, counter._gauges, counter._ends, counter._moved, counter._transactions
        return sum(len(cache) for cache in caches)

    emit(0)
    before = kept()
    for number in range(1, 50):
        emit(number)

    assert kept() == before
