"""The feed: exact counts, and robustness against a program's own events."""

from __future__ import annotations

import math
import sys
import threading
from decimal import Decimal
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent, StoreProgressStepEvent
from encore_storage.server import EventFeed, create_app
from encore_storage.subscribers import MetricsSubscriber, in_progress, sink
from encore_storage.subscribers.errors import AlreadyConnectedError
from encore_storage.subscribers.in_progress import InProgress
from tests.server.support import fetch, serving, until


def test_totals_equal_the_metrics(manager: EventManager, feed: EventFeed, store: DictMemoryStore) -> None:
    registry = CollectorRegistry()
    MetricsSubscriber(registry=registry).connect(manager)
    threads = [threading.Thread(target=work, args=(store, str(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    feed.disconnect()
    ends = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "encore_storage_operation_duration_seconds_count"
    ]

    assert feed.totals()["operations"] == sum(ends) == 4 * 200
    assert feed.totals()["written"] == 4 * 100 * 5
    assert feed.totals()["read"] == 4 * 100 * 5
    assert feed.totals()["missed"] == 0


def work(store: DictMemoryStore, name: str) -> None:
    for _ in range(100):
        store.from_bytes(name, b"hello")
        store.to_bytes(name)


def test_event_that_cannot_be_encoded_is_reported_and_missed(
    manager: EventManager, feed: EventFeed, recorder: EventRecorder
) -> None:
    manager.emit(StoreProgressEndEvent(store="archive", operation_id="1"))  # it lacks required attributes
    manager.emit(BaseEvent(word="next"))
    until(lambda: feed.ring.last >= 3)
    feed.disconnect()

    (failed,) = recorder.of(ListenerErrorEvent)
    assert isinstance(failed.error, AttributeError)
    assert feed.own.missed == 1
    assert feed.ring.after(0).missed == 1
    assert b'"word":"next"' in b"".join(event.frame for event in feed.ring.after(0).events)


def test_dropped_events_are_counted_and_skipped_in_the_ring(
    manager: EventManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "WAITING", 10)
    feed = EventFeed()
    gate, entered = threading.Event(), threading.Event()
    consume = feed._consume

    def slow(at: float, event: BaseEvent) -> None:
        entered.set()
        gate.wait()
        consume(at, event)

    monkeypatch.setattr(feed, "_consume", slow)
    feed.connect(manager)
    manager.emit(BaseEvent(number=0))
    entered.wait()
    for number in range(1, 31):
        manager.emit(BaseEvent(number=number))
    gate.set()
    feed.disconnect()
    found = feed.ring.after(0)

    assert feed.own.missed == 20
    assert found.missed == 20
    assert [event.number for event in found.events] == [1, *range(22, 32)]


def test_connect_to_a_second_event_manager_raises(feed: EventFeed) -> None:
    with pytest.raises(AlreadyConnectedError):
        feed.connect(EventManager())


def test_operation_started_before_connect_is_counted(
    manager: EventManager, recorder: EventRecorder, store: DictMemoryStore
) -> None:
    store.from_bytes("a", b"x" * 100)
    data = store.get_data("a")
    with EventFeed().connect(manager) as feed:
        assert feed.own.activity.in_flight((), 10)["in_flight"] == []
        data.read()
        data.close()

    assert feed.totals()["operations"] == 1


def test_recent_counts_omitted_operations(manager: EventManager, feed: EventFeed) -> None:
    store = DictMemoryStore(event_manager=manager)
    for number in range(150):
        store.from_bytes(str(number), b"1")
    feed.disconnect()
    recent, omitted = feed.own.activity.recent.since(0, (), 20)

    assert [one["key"] for one in recent[:2]] == ["149", "148"]
    assert (len(recent), omitted) == (20, 130)
    assert feed.own.activity.recent.since(149, (), 20)[1] == 0


def test_feed_survives_a_failing_error_listener() -> None:
    def failing(_event: ListenerErrorEvent) -> None:
        raise RuntimeError

    manager = EventManager(strict=True)
    feed = EventFeed().connect(manager)
    manager.connect(ListenerErrorEvent, failing)
    manager.emit(StoreProgressEndEvent(store="archive", operation_id="1"))  # incomplete for the feed only
    until(lambda: feed.own.missed)
    manager.disable(ListenerErrorEvent)
    manager.emit(BaseEvent(word="next"))
    feed.disconnect()

    assert b'"word":"next"' in feed.ring.after(0).events[-1].frame


class Exiting(BaseEvent):
    """An event that raises SystemExit when it is encoded."""

    word: str = cast("str", property(sys.exit))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_health_is_503_after_the_thread_has_ended(manager: EventManager, feed: EventFeed) -> None:
    assert feed.is_listening

    manager.emit(Exiting())
    until(lambda: not feed.is_listening)

    with serving(create_app(feed=feed)) as server:
        assert fetch(server.address, "/healthz").status == 503


def start(operation_id: str) -> StoreProgressStartEvent:
    return StoreProgressStartEvent(store="archive", operation_id=operation_id)


def test_operation_with_few_attributes_is_in_flight(manager: EventManager, feed: EventFeed) -> None:
    manager.emit(start("1"))

    with serving(create_app(feed=feed)) as server:
        (operation,) = fetch(server.address, "/api/operations").json["in_flight"]

    assert (operation["operation_id"], operation["expected"], operation["bytes"]) == ("1", None, 0)
    assert operation["age"] >= 0


def test_step_after_the_end_adds_nothing_in_flight(manager: EventManager, feed: EventFeed) -> None:
    identity = {"store": "archive", "operation_id": "1", "steps": 2, "timestamp": 0.0, "direction": None}
    manager.emit(start("1"))
    end = {"outcome": "ok", "bytes": 2, "delta": 1, "duration": 1.0}
    manager.emit(StoreProgressEndEvent(**identity, **end))
    manager.emit(StoreProgressStepEvent(**identity, step=1, delta=1))

    assert feed.own.activity.in_flight((), 10)["in_flight"] == []


def test_operation_id_can_be_reused(manager: EventManager, feed: EventFeed) -> None:
    identity = {"store": "archive", "operation_id": "1", "steps": 2, "timestamp": 0.0, "direction": None}
    for _ in range(2):
        manager.emit(StoreProgressStartEvent(**identity))
        manager.emit(StoreProgressStepEvent(**identity, step=1, delta=1))
        assert feed.own.activity.in_flight((), 10)["in_flight_total"] == 1
        manager.emit(StoreProgressEndEvent(**identity, outcome="ok", bytes=2, delta=1, duration=1.0))
        assert feed.own.activity.in_flight((), 10)["in_flight_total"] == 0


def test_step_during_the_end_adds_nothing_in_flight(
    manager: EventManager, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = {"store": "archive", "operation_id": "1", "steps": 2, "timestamp": 0.0, "direction": None}
    end = StoreProgressEndEvent(**identity, outcome="ok", bytes=2, delta=1, duration=1.0)
    manager.emit(start("1"))

    class Ending(InProgress[Any]):
        def get(self, key: object, default: Any = None) -> Any:
            known = super().get(key, default)
            manager.emit(end)  # as another thread might
            return known

    ending = Ending()
    ending.update(feed.own.activity._operations)
    monkeypatch.setattr(feed.own.activity, "_operations", ending)
    manager.emit(StoreProgressStepEvent(**identity, step=1, delta=1))

    assert feed.own.activity.in_flight((), 10)["in_flight"] == []


@pytest.mark.parametrize("steps", [None, "5", float("nan"), float("inf"), -2, [1]])
def test_invalid_size_is_unknown(manager: EventManager, feed: EventFeed, steps: object) -> None:
    manager.emit(StoreProgressStartEvent(store="archive", operation_id="1", steps=steps))
    manager.emit(StoreProgressStepEvent(store="archive", operation_id="2", steps=10, step=steps, delta=0))

    with serving(create_app(feed=feed)) as server:
        operations = fetch(server.address, "/api/operations").json["in_flight"]

    assert [(one["operation_id"], one["expected"], one["bytes"]) for one in operations] == [
        ("1", None, 0),
        ("2", 10, 0),
    ]


def test_event_that_cannot_be_encoded_is_left_out_of_in_flight(manager: EventManager, feed: EventFeed) -> None:
    class Odd(StoreProgressStartEvent):
        @property
        def key(self) -> str:  # type: ignore[override]  # an attribute of the base class
            raise OSError("no such attribute")

    manager.emit(Odd(store="archive", operation_id="1"))
    manager.emit(start("2"))

    in_flight = feed.own.activity.in_flight((), 10)

    assert [one["operation_id"] for one in in_flight["in_flight"]] == ["2"]
    assert in_flight["in_flight_total"] == 2


def test_event_with_an_unreadable_store_matches_no_store(manager: EventManager, feed: EventFeed) -> None:
    class Odd(StoreProgressStartEvent):
        @property
        def store(self) -> str:  # type: ignore[override]  # an attribute of the base class
            raise OSError("no such attribute")

    manager.emit(Odd(operation_id="1"))
    manager.emit(start("2"))

    assert feed.own.activity.in_flight(("archive",), 10)["in_flight_total"] == 1


def test_oldest_operations_in_flight_are_evicted_at_the_limit(
    manager: EventManager, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_progress, "MOST", 3)
    for number in range(5):
        manager.emit(start(str(number)))

    in_flight = feed.own.activity.in_flight((), 10)

    assert [one["operation_id"] for one in in_flight["in_flight"]] == ["2", "3", "4"]
    assert in_flight["in_flight_total"] == 3


@pytest.mark.parametrize("recorded_at", [12.5, 2.5e11, "2026", math.nan, Decimal(5), None, {}])
def test_recorded_at_of_a_program_is_no_replay(
    manager: EventManager, recorder: EventRecorder, feed: EventFeed, recorded_at: object
) -> None:
    started = feed.clock() - 100
    attributes = {"store": "a", "operation": "get", "operation_id": "1", "recorded_at": recorded_at}
    with feed.connect(manager):
        manager.emit(StoreProgressStartEvent(**attributes, timestamp=started))
        manager.emit(BaseEvent(**attributes, outcome="error"))

        (item,) = feed.view().current((), 10)["in_flight"]
        assert item["age"] >= 100

    current = feed.view().current((), 10)
    assert (current["replayed"], feed.own.missed, recorder.of(ListenerErrorEvent)) == (None, 0, [])
    found = feed.ring.after(0, 10).events
    assert [one.outcome for one in found] == [None, None]
    assert all(abs(one.time - feed.clock()) < 60 for one in found)
