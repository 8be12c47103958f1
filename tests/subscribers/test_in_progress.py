"""The tracker of operations and transactions in progress, and the gauges made from it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage.events import StoreTransactionEndEvent, StoreTransactionStartEvent
from encore_storage.subscribers import MetricsSubscriber, in_progress
from encore_storage.subscribers.in_progress import InProgress
from tests.forking import fork
from tests.subscribers.support import end, sample, start


@pytest.fixture
def at_most_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_progress, "MOST", 3)


def test_start_with_a_known_id_replaces_the_item() -> None:
    tracker = InProgress[str]()
    tracker.start("1", "one")
    tracker.start("1", "another")

    assert list(tracker.values()) == ["another"]
    assert repr(tracker) == "<InProgress: 1>"


@pytest.mark.usefixtures("at_most_three")
def test_start_beyond_the_limit_evicts_the_oldest() -> None:
    tracker = InProgress[str]()
    evicted = [list(tracker.start(number, f"item {number}")) for number in range(5)]

    assert evicted == [[], [], [], ["item 0"], ["item 1"]]
    assert list(tracker) == [2, 3, 4]


def test_start_in_many_threads_keeps_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_progress, "MOST", 50)
    tracker, together = InProgress[int](), threading.Barrier(8)

    def work(thread: int) -> None:
        together.wait()
        for number in range(2000):
            tracker.start((thread, number), number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    tracker.start("last", 0)

    assert len(tracker) <= 50


def test_forked_child_has_nothing_in_progress() -> None:
    tracker = InProgress[str]()
    tracker.start("1", "one")
    child = fork()
    if child == 0:
        os._exit(len(tracker))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(tracker) == 1


def gauges(registry: CollectorRegistry) -> tuple[float | None, float | None]:
    return (
        sample(registry, "operations_in_progress", store="archive", operation="get"),
        sample(registry, "transactions_in_progress", store="archive"),
    )


@pytest.mark.usefixtures("metrics", "at_most_three")
def test_metrics_evict_operations_and_transactions_without_an_end(
    manager: EventManager, registry: CollectorRegistry
) -> None:
    for number in range(5):
        manager.emit(start(operation_id=str(number)))
        manager.emit(StoreTransactionStartEvent(store="archive", transaction_id=str(number), timestamp=0.0))

    assert gauges(registry) == (3, 3)


@pytest.mark.usefixtures("metrics")
def test_end_that_cannot_be_counted_leaves_nothing_in_progress(
    manager: EventManager, registry: CollectorRegistry, recorder: EventRecorder
) -> None:
    manager.emit(start())
    manager.emit(StoreTransactionStartEvent(store="archive", transaction_id="1", timestamp=0.0))
    manager.emit(end(duration=None, store=["unhashable"]))
    manager.emit(StoreTransactionEndEvent(store=["unhashable"], transaction_id="1", outcome="committed"))

    assert len(recorder.of(ListenerErrorEvent)) == 2
    assert gauges(registry) == (0, 0)


def test_operation_keeps_the_labels_of_its_start(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber
) -> None:
    manager.emit(start())
    manager.emit(end(store="renamed"))

    assert gauges(registry)[0] == 0
    metrics.disconnect()
