"""What the feed makes of events: exact counts, whatever a program's own events look like."""

from __future__ import annotations

import threading
from typing import Any

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
from tests.server.support import ask, serving, until


def test_counts_are_those_of_the_metrics(manager: EventManager, feed: EventFeed, store: DictMemoryStore) -> None:
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


def test_an_event_that_cannot_be_told_is_reported_and_the_next_one_is_told(
    manager: EventManager, feed: EventFeed, recorder: EventRecorder
) -> None:
    manager.emit(StoreProgressEndEvent(store="archive", operation_id="1"))  # without all that such an event has
    manager.emit(BaseEvent(word="next"))
    until(lambda: feed.ring.last >= 3)
    feed.disconnect()

    (failed,) = recorder.of(ListenerErrorEvent)
    assert isinstance(failed.error, AttributeError)
    assert feed.missed == 1
    assert feed.ring.after(0).missed == 1
    assert b'"word":"next"' in b"".join(event.frame for event in feed.ring.after(0).events)


def test_what_it_could_not_keep_up_with_is_counted_and_missing_in_the_ring(
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

    assert feed.missed == 20
    assert found.missed == 20
    assert [event.number for event in found.events] == [1, *range(22, 32)]


def test_it_listens_to_one_event_manager_at_a_time(feed: EventFeed) -> None:
    with pytest.raises(AlreadyConnectedError):
        feed.connect(EventManager())


def test_operations_that_began_before_it_listened_are_in_flight_once_they_move(
    manager: EventManager, recorder: EventRecorder, store: DictMemoryStore
) -> None:
    store.from_bytes("a", b"x" * 100)
    data = store.get_data("a")
    with EventFeed().connect(manager) as feed:
        assert feed.activity.in_flight((), 10)["in_flight"] == []
        data.read()
        data.close()

    assert feed.totals()["operations"] == 1


def test_a_store_past_the_limit_of_what_is_shown_is_counted(manager: EventManager, feed: EventFeed) -> None:
    store = DictMemoryStore(event_manager=manager)
    for number in range(150):
        store.from_bytes(str(number), b"1")
    feed.disconnect()
    told, omitted = feed.activity.recent.since(0, (), 20)

    assert [one["key"] for one in told[:2]] == ["149", "148"]
    assert (len(told), omitted) == (20, 130)
    assert feed.activity.recent.since(149, (), 20)[1] == 0


def test_trouble_in_telling_of_trouble_ends_nothing() -> None:
    def failing(_event: ListenerErrorEvent) -> None:
        raise RuntimeError

    manager = EventManager(strict=True)
    feed = EventFeed().connect(manager)
    manager.connect(ListenerErrorEvent, failing)
    manager.emit(StoreProgressEndEvent(store="archive", operation_id="1"))  # lacks what only the feed's thread needs
    until(lambda: feed.missed)
    manager.disable(ListenerErrorEvent)
    manager.emit(BaseEvent(word="next"))
    feed.disconnect()

    assert b'"word":"next"' in feed.ring.after(0).events[-1].frame


class Exiting(BaseEvent):
    """An event that ends whoever looks at it."""

    word: str

    @property
    def operation(self) -> str:
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_ends_the_stream_and_is_seen(manager: EventManager, feed: EventFeed) -> None:
    assert feed.is_listening

    manager.emit(Exiting(word="last"))
    until(lambda: not feed.is_listening)

    with serving(create_app(feed=feed)) as server:
        assert ask(server.address, "/healthz").status == 503


def start(operation_id: str) -> StoreProgressStartEvent:
    return StoreProgressStartEvent(store="archive", operation_id=operation_id)


def test_an_operation_of_which_little_is_known_is_in_flight(manager: EventManager, feed: EventFeed) -> None:
    manager.emit(start("1"))

    with serving(create_app(feed=feed)) as server:
        (told,) = ask(server.address, "/api/operations").json["in_flight"]

    assert (told["operation_id"], told["expected"], told["bytes"]) == ("1", None, 0)
    assert told["age"] >= 0


def test_a_step_that_comes_after_the_end_brings_nothing_back(manager: EventManager, feed: EventFeed) -> None:
    identity = {"store": "archive", "operation_id": "1", "steps": 2, "timestamp": 0.0, "direction": None}
    manager.emit(start("1"))
    end = {"outcome": "ok", "bytes": 2, "delta": 1, "duration": 1.0}
    manager.emit(StoreProgressEndEvent(**identity, **end))
    manager.emit(StoreProgressStepEvent(**identity, step=1, delta=1))

    assert feed.activity.in_flight((), 10)["in_flight"] == []


def test_an_id_may_be_used_again(manager: EventManager, feed: EventFeed) -> None:
    identity = {"store": "archive", "operation_id": "1", "steps": 2, "timestamp": 0.0, "direction": None}
    for _ in range(2):
        manager.emit(StoreProgressStartEvent(**identity))
        manager.emit(StoreProgressStepEvent(**identity, step=1, delta=1))
        assert feed.activity.in_flight((), 10)["in_flight_total"] == 1
        manager.emit(StoreProgressEndEvent(**identity, outcome="ok", bytes=2, delta=1, duration=1.0))
        assert feed.activity.in_flight((), 10)["in_flight_total"] == 0


def test_nor_does_one_that_is_being_noted_while_the_end_is_told(
    manager: EventManager, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = {"store": "archive", "operation_id": "1", "steps": 2, "timestamp": 0.0, "direction": None}
    end = StoreProgressEndEvent(**identity, outcome="ok", bytes=2, delta=1, duration=1.0)
    manager.emit(start("1"))

    class Noting(InProgress[Any]):
        def get(self, key: object, default: Any = None) -> Any:
            known = super().get(key, default)
            manager.emit(end)  # as another thread might, right here
            return known

    noting = Noting()
    noting.update(feed.activity._operations)
    monkeypatch.setattr(feed.activity, "_operations", noting)
    manager.emit(StoreProgressStepEvent(**identity, step=1, delta=1))

    assert feed.activity.in_flight((), 10)["in_flight"] == []


@pytest.mark.parametrize("steps", [None, "5", float("nan"), float("inf"), -2, [1]])
def test_a_size_that_is_none_hides_nothing_else(manager: EventManager, feed: EventFeed, steps: object) -> None:
    manager.emit(StoreProgressStartEvent(store="archive", operation_id="1", steps=steps))
    manager.emit(StoreProgressStepEvent(store="archive", operation_id="2", steps=10, step=steps, delta=0))

    with serving(create_app(feed=feed)) as server:
        told = ask(server.address, "/api/operations").json["in_flight"]

    assert [(one["operation_id"], one["expected"], one["bytes"]) for one in told] == [("1", None, 0), ("2", 10, 0)]


def test_what_cannot_be_told_hides_nothing_else(manager: EventManager, feed: EventFeed) -> None:
    class Odd(StoreProgressStartEvent):
        @property
        def key(self) -> str:  # type: ignore[override]  # where others have an attribute
            raise OSError("nobody knows")

    manager.emit(Odd(store="archive", operation_id="1"))
    manager.emit(start("2"))

    told = feed.activity.in_flight((), 10)

    assert [one["operation_id"] for one in told["in_flight"]] == ["2"]
    assert told["in_flight_total"] == 2


def test_a_store_that_cannot_be_told_is_none_of_those_asked_for(manager: EventManager, feed: EventFeed) -> None:
    class Odd(StoreProgressStartEvent):
        @property
        def store(self) -> str:  # type: ignore[override]  # where others have an attribute
            raise OSError("nobody knows")

    manager.emit(Odd(operation_id="1"))
    manager.emit(start("2"))

    assert feed.activity.in_flight(("archive",), 10)["in_flight_total"] == 1


def test_what_never_ends_is_forgotten_when_there_is_too_much_of_it(
    manager: EventManager, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_progress, "MOST", 3)
    for number in range(5):
        manager.emit(start(str(number)))

    told = feed.activity.in_flight((), 10)

    assert [one["operation_id"] for one in told["in_flight"]] == ["2", "3", "4"]
    assert told["in_flight_total"] == 3
