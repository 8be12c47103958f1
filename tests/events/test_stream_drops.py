"""Dropped events: exact counts and reports in their place."""

import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from encore_events import BaseEvent, EventManager, EventsDroppedEvent, EventStream
from encore_events.testing import EventRecorder
from encore_storage.subscribers import MetricsSubscriber


class Opened(BaseEvent):
    number: int


Dropping = Literal["drop_oldest", "drop_newest"]
POLICIES: tuple[Dropping, ...] = ("drop_oldest", "drop_newest")


class Clock:
    """A clock that a test sets."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def emit_some(manager: EventManager, *some: int) -> None:
    for number in some:
        manager.emit(Opened(number=number))


def described(stream: EventStream[Any], events: Iterable[Any]) -> list[int | str]:
    """Return the numbers of the events, and 'n missing' for each notice."""
    return [f"{event.count} missing" if is_notice_of(stream, event) else event.number for event in events]


def is_notice_of(stream: EventStream[Any], event: BaseEvent) -> bool:
    return isinstance(event, EventsDroppedEvent) and event.source is stream


def drained(stream: EventStream[Any]) -> list[int | str]:
    return described(stream, (event for _, event in stream.drain()))


def notices(recorder: EventRecorder, stream: EventStream[Any]) -> list[int]:
    return [event.count for event in recorder.of(EventsDroppedEvent) if event.source is stream]


def test_drop_oldest_reports_drops_before_the_remaining_events(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=3)

    emit_some(manager, *range(5))
    assert described(stream, (stream.get(0),)) == ["2 missing"]
    emit_some(manager, *range(5, 8))

    assert drained(stream) == [2, "2 missing", 5, 6, 7]
    assert stream.dropped == 4


def test_drop_newest_reports_drops_in_their_place(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=3, policy="drop_newest")

    emit_some(manager, *range(5))
    assert described(stream, (stream.get(0),)) == [0]
    emit_some(manager, *range(5, 8))

    assert drained(stream) == [1, 2, "2 missing", 5, "2 missing"]
    assert drained(stream) == []
    assert stream.dropped == 4


@pytest.mark.parametrize("policy", POLICIES)
def test_notice_names_queue_reason_and_source(manager: EventManager, policy: Dropping) -> None:
    stream = manager.stream(Opened, capacity=1, policy=policy, name="page")
    emit_some(manager, 1, 2, 3)

    (event,) = [event for _, event in stream.drain() if isinstance(event, EventsDroppedEvent)]

    assert (event.source, event.queue, event.reason, event.count) == (stream, "page", "full", 2)


def test_slow_reader_still_reads_events(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=2)
    emit_some(manager, 0, 1)

    got = []
    for number in range(2, 8):
        emit_some(manager, number)
        got.append(stream.get(0))

    assert described(stream, got) == ["1 missing", 1, "1 missing", 3, "1 missing", 5]


def test_wait_returns_for_trailing_drops(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=1, policy="drop_newest")
    emit_some(manager, 1, 2)
    stream.close()

    assert stream.get() is not None
    assert stream.wait()
    assert described(stream, stream) == ["1 missing"]
    assert not stream.wait()


def test_slow_reader_does_not_affect_another_stream(manager: EventManager) -> None:
    slow, quick = manager.stream(Opened, capacity=2), manager.stream(Opened, capacity=2)
    got: list[int | str] = []

    for number in range(10):
        emit_some(manager, number)
        got += drained(quick)

    assert got == list(range(10))
    assert drained(slow) == ["8 missing", 8, 9]


ACTIONS = st.lists(st.one_of(st.integers(1, 6), st.sampled_from(["get", "drain", "a second"])), max_size=40)


@pytest.mark.parametrize("policy", POLICIES)
@given(actions=ACTIONS, capacity=st.integers(1, 4))
def test_every_event_is_read_or_reported_in_its_place(
    policy: Dropping, actions: list[int | str], capacity: int
) -> None:
    manager, clock, number = EventManager(), Clock(), itertools.count()
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = EventStream(manager, Opened, capacity=capacity, policy=policy, clock=clock)
    read: list[Any] = []

    for action in actions:
        if isinstance(action, int):
            emit_some(manager, *itertools.islice(number, action))
        elif action == "get":
            read += [event for event in (stream.get(0),) if event is not None]
        elif action == "drain":
            read += [event for _, event in stream.drain()]
        else:
            clock.now += 1
        assert len(stream) <= capacity + 1  # one may be aside, while the reader gets a notice first
    manager.close()
    read += stream

    assert in_place(stream, read) == next(number)
    assert sum(notices(recorder, stream)) == stream.dropped


def in_place(stream: EventStream[Any], events: Iterable[Any]) -> int:
    """Return the number of events, drops included; check that the numbers rise by one except for reported drops."""
    expected = 0
    for event in events:
        if is_notice_of(stream, event):
            assert event.count > 0
            expected += event.count
        else:
            assert event.number == expected
            expected += 1
    return expected


@pytest.mark.parametrize("policy", POLICIES)
def test_drops_are_reported_at_once_then_once_a_second(manager: EventManager, policy: Dropping) -> None:
    clock, recorder = Clock(), EventRecorder(manager, EventsDroppedEvent)
    stream = EventStream(manager, Opened, capacity=1, policy=policy, name="page", clock=clock)

    emit_some(manager, *range(10))
    assert notices(recorder, stream) == [1]
    clock.now += 0.9
    emit_some(manager, *range(10))
    assert notices(recorder, stream) == [1]
    clock.now += 0.1
    emit_some(manager, *range(10))

    assert notices(recorder, stream) == [1, 19]
    notice = recorder.of(EventsDroppedEvent)[0]
    assert (notice.source, notice.queue, notice.reason) == (stream, "page", "full")


@pytest.mark.parametrize("policy", POLICIES)
def test_remaining_drops_are_reported_at_the_next_read(manager: EventManager, policy: Dropping) -> None:
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = manager.stream(Opened, capacity=1, policy=policy)
    emit_some(manager, *range(10))

    stream.get()
    assert notices(recorder, stream) == [1, 8]
    stream.drain()

    assert notices(recorder, stream) == [1, 8]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("is_closed_itself", [True, False])
def test_remaining_drops_are_reported_at_the_end(
    manager: EventManager, policy: Dropping, *, is_closed_itself: bool
) -> None:
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = manager.stream(Opened, capacity=1, policy=policy)
    emit_some(manager, *range(10))

    closed: EventStream[Opened] | EventManager = stream if is_closed_itself else manager
    closed.close()
    closed.close()

    assert notices(recorder, stream) == [1, 8]


def test_drops_are_counted_by_the_metrics(manager: EventManager) -> None:
    registry = CollectorRegistry()
    stream = manager.stream(Opened, capacity=2, name="page")

    with MetricsSubscriber(registry=registry).connect(manager):
        emit_some(manager, *range(10))
        stream.drain()

    assert registry.get_sample_value("encore_events_dropped_total", {"queue": "page", "reason": "full"}) == 8


def test_stream_of_all_events_does_not_queue_its_own_notices(manager: EventManager) -> None:
    stream = EventStream(manager, BaseEvent, capacity=2, clock=Clock(step=10))

    emit_some(manager, *range(5))
    stream.close()

    assert described(stream, stream) == ["3 missing", 3, 4]


def test_stream_of_notices_gets_notices_of_another_stream(manager: EventManager) -> None:
    full = manager.stream(Opened, capacity=1)
    of_drops = manager.stream(EventsDroppedEvent)

    emit_some(manager, 1, 2)

    assert [(event.source, event.count) for _, event in of_drops.drain()] == [(full, 1)]


def test_two_full_streams_of_all_events_do_not_report_endlessly(manager: EventManager) -> None:
    clock, recorder = Clock(step=10), EventRecorder(manager, EventsDroppedEvent)
    streams = [EventStream(manager, BaseEvent, capacity=1, name=name, clock=clock) for name in "ab"]

    emit_some(manager, *range(5))
    for stream in streams * 3:
        while stream.wait(0):
            stream.get()
    assert len(recorder.events) < 20
    assert [stream.wait(0) for stream in streams] == [False, False]

    manager.close()
    for stream in streams:
        assert sum(notices(recorder, stream)) == stream.dropped


def test_listener_that_emits_at_each_notice_does_not_loop(manager: EventManager) -> None:
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = EventStream(manager, Opened, capacity=1, clock=Clock(step=10))
    manager.connect(EventsDroppedEvent, lambda event: emit_some(manager, 7, 8))

    emit_some(manager, 1, 2)
    assert notices(recorder, stream) == [1]
    assert stream.dropped == 3
    stream.close()

    assert sum(notices(recorder, stream)) == stream.dropped


@pytest.mark.parametrize("end", [EventStream.get, EventStream.close])
def test_notice_listener_can_read_and_close_the_stream(manager: EventManager, end: Any) -> None:
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = EventStream(manager, Opened, capacity=1, clock=Clock(step=10))
    manager.connect(EventsDroppedEvent, lambda event: end(stream))

    emit_some(manager, *range(5))
    manager.close()

    assert sum(notices(recorder, stream)) == stream.dropped


@pytest.fixture
def strict() -> Iterator[EventManager]:
    manager = EventManager(strict=True)
    yield manager
    manager.close()


def test_error_in_notice_listener_reaches_neither_emitter_nor_reader(
    strict: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    stream = strict.stream(Opened, capacity=1)

    def fail(_: BaseEvent) -> None:
        raise OSError("disk full")

    strict.connect(EventsDroppedEvent, fail)

    emit_some(strict, 1, 2, 3)
    assert drained(stream) == ["2 missing", 3]

    failed = [record for record in caplog.records if record.getMessage() == "could not report 1 dropped events"]
    assert [record.levelno for record in failed] == [logging.ERROR] * 2


def test_stream_collected_during_a_drop_reports_nothing(manager: EventManager) -> None:
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = manager.stream(Opened, capacity=1)
    emit_some(manager, 1)
    put = stream._buffer.put

    del stream
    put(Opened(number=2))

    assert recorder.events == []
