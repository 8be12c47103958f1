"""Reading and closing streams."""

import gc
import threading
import time
from collections.abc import Iterable
from typing import Any, assert_type

import pytest

from encore_events import (
    BaseEvent,
    EncoreError,
    EventError,
    EventManager,
    EventsDroppedEvent,
    EventStream,
    InvalidListenerError,
    ManagerClosedError,
    StreamError,
)
from tests.events.stepping import begin, end


class Opened(BaseEvent):
    number: int


class Reopened(Opened):
    pass


class Closed(BaseEvent):
    pass


def numbers(events: Iterable[Any]) -> list[int]:
    return [event.number for event in events]


def emit_some(manager: EventManager, *some: int) -> None:
    for number in some:
        manager.emit(Opened(number=number))


def test_stream_yields_events_of_class_and_subclasses_in_order(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    first, second = Opened(), Reopened()

    for event in (first, Closed(), second):
        manager.emit(event)
    stream.close()

    assert list(stream) == [first, second]


def test_stream_applies_filter_and_where(manager: EventManager) -> None:
    stream = manager.stream(Opened, {"colour": "red"}, where=lambda event: event.number > 1)

    for number, colour in enumerate(["red", "blue", "red", "blue", "red"]):
        manager.emit(Opened(number=number, colour=colour))
    stream.close()

    assert numbers(stream) == [2, 4]


def test_stream_yields_vetoed_events(manager: EventManager) -> None:
    manager.connect(Opened, Opened.mark_as_handled, priority=1000)
    stream = manager.stream(Opened)

    emit_some(manager, 1)

    assert stream.get(0) is not None


def test_each_stream_gets_every_event(manager: EventManager) -> None:
    streams = manager.stream(Opened), manager.stream(BaseEvent)

    emit_some(manager, 1, 2)
    manager.close()

    assert [numbers(stream) for stream in streams] == [[1, 2], [1, 2]]


def test_stream_item_type_is_inferred(manager: EventManager) -> None:
    stream = manager.stream(Reopened)
    manager.emit(Reopened())
    stream.close()

    for event in stream:
        assert_type(event, Reopened | EventsDroppedEvent)
    assert_type(stream, EventStream[Reopened])
    assert_type(stream.get(0), Reopened | EventsDroppedEvent | None)
    assert_type(stream.drain(), list[tuple[float, Reopened | EventsDroppedEvent]])


def test_get_waits_for_an_event_of_another_thread(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    got: list[object] = []
    reader = begin(lambda: got.append(stream.get()))
    event = Opened()

    manager.emit(event)
    end(reader)

    assert got == [event]


@pytest.mark.parametrize("timeout", [-1, 0, 0.001])
def test_get_returns_none_after_the_timeout(manager: EventManager, timeout: float) -> None:
    stream = manager.stream(Opened)

    assert stream.get(timeout) is None
    assert not stream.wait(timeout)


def test_timeout_can_be_arbitrarily_long(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    got: list[object] = []
    reader = begin(lambda: got.append(stream.get(float("inf"))))

    emit_some(manager, 1)
    end(reader)

    assert len(got) == 1


def test_wait_returns_whether_an_event_is_unread(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    results: list[bool] = []
    reader = begin(lambda: results.append(stream.wait()))

    emit_some(manager, 1)
    end(reader)
    stream.close()

    assert results == [True]
    assert stream.wait()
    assert numbers(stream) == [1]
    assert not stream.wait()


def test_drain_returns_unread_events_with_their_times(manager: EventManager) -> None:
    stream = manager.stream(Opened)

    before = time.time()
    emit_some(manager, 1, 2, 3)
    after = time.time()
    drained = stream.drain()

    assert numbers(event for _, event in drained) == [1, 2, 3]
    assert before <= drained[0][0] <= drained[1][0] <= drained[2][0] <= after
    assert stream.drain() == []


def test_break_leaves_the_remaining_events(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    emit_some(manager, 1, 2, 3)

    for _ in stream:
        break
    stream.close()

    assert numbers(stream) == [2, 3]


def test_closed_stream_yields_unread_events_then_ends(manager: EventManager) -> None:
    with manager.stream(Opened) as stream:
        emit_some(manager, 1, 2)
    emit_some(manager, 3)

    assert stream.closed
    assert numbers(stream) == [1, 2]
    assert list(stream) == []
    assert stream.get() is None
    assert manager.get_listeners(Opened) == []


def test_stream_can_be_closed_twice(manager: EventManager) -> None:
    stream = manager.stream(Opened)

    stream.close()
    stream.close()

    assert stream.closed


def test_close_wakes_every_reader(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    got: list[object] = []
    readers = [begin(lambda: got.append(stream.get())) for _ in range(3)]
    readers.append(begin(lambda: got.append(stream.wait())))

    stream.close()
    for reader in readers:
        end(reader)

    assert got.count(None) == 3
    assert got.count(False) == 1


def test_manager_close_ends_its_streams(manager: EventManager) -> None:
    streams: list[EventStream[Any]]
    streams = [manager.stream(Opened), manager.stream(Closed), manager.stream(BaseEvent, policy="block")]
    emit_some(manager, 1)
    reader = begin(lambda: list(streams[1]))

    manager.close()
    end(reader)

    assert all(stream.closed for stream in streams)
    assert numbers(streams[0]) == numbers(streams[2]) == [1]


def test_manager_close_flushes_the_worker_before_ending_streams() -> None:
    manager = EventManager()
    stream = manager.stream(Opened)
    for number in range(100):
        manager.emit(Opened(number=number), block=False)

    manager.close()

    assert numbers(stream) == list(range(100))


def test_event_put_after_close_is_ignored(manager: EventManager) -> None:
    closing = manager.connect(Opened, lambda event: stream.close(), priority=float("inf"))
    stream = manager.stream(Opened)

    emit_some(manager, 1)
    closing.disconnect()

    assert list(stream) == []


def test_readers_share_the_events(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    got: list[list[int]] = [[], [], []]

    def read(into: list[int]) -> None:
        into.extend(numbers(stream))

    def reader(into: list[int]) -> threading.Thread:
        return begin(lambda: read(into))

    readers = [reader(into) for into in got]
    emit_some(manager, *range(300))
    stream.close()
    for one in readers:
        end(one)

    assert sorted(number for some in got for number in some) == list(range(300))
    assert all(some == sorted(some) for some in got)


def test_unreferenced_stream_is_disconnected(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    emit_some(manager, 1)

    del stream

    assert repr(manager) == "<EventManager: 0 listeners>"


def test_loop_keeps_its_stream_alive(manager: EventManager) -> None:
    def begun(stream: EventStream[Opened]) -> EventStream[Opened]:
        emit_some(manager, 1)
        return stream

    got = []
    for event in begun(manager.stream(Opened)):
        gc.collect()
        got.append(event)
        if len(got) == 3:
            break
        emit_some(manager, 1 + len(got))

    assert numbers(got) == [1, 2, 3]
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_stream_in_a_reference_cycle_is_collected(manager: EventManager) -> None:
    stream: Any = manager.stream(Opened)
    stream.itself = stream

    del stream
    gc.collect()

    assert repr(manager) == "<EventManager: 0 listeners>"


def test_stream_does_not_keep_read_events_alive(manager: EventManager) -> None:
    died = []

    class Finalized(Opened):
        def __del__(self) -> None:
            died.append(self.number)

    stream = manager.stream(Opened, capacity=2)
    for number in range(4):
        manager.emit(Finalized(number=number))
    assert died == [0, 1]
    stream.drain()

    assert sorted(died) == [0, 1, 2, 3]


def test_stream_vetoed_by_the_tracer_is_inert(manager: EventManager) -> None:
    manager.set_trace(lambda name, method, args: name == "connect")
    stream = manager.stream(Opened)

    emit_some(manager, 1)
    stream.close()

    assert list(stream) == []


def test_stream_repr_shows_class_counts_and_state(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=3)
    assert repr(stream) == "<EventStream of Opened: 0 waiting, 0 dropped>"
    assert stream

    emit_some(manager, *range(5))
    assert repr(stream) == "<EventStream of Opened: 3 waiting, 2 dropped>"
    assert (len(stream), stream.dropped, stream.closed) == (3, 2, False)

    stream.close()
    assert repr(stream) == "<EventStream of Opened: 3 waiting, 2 dropped, closed>"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"capacity": 0}, "cannot make a stream with capacity=0: it must be a whole number of at least 1"),
        ({"capacity": 2.5}, "cannot make a stream with capacity=2.5: it must be a whole number of at least 1"),
        (
            {"policy": "drop"},
            "cannot make a stream with policy='drop': it must be 'block', 'drop_oldest' or 'drop_newest'",
        ),
        ({"policy": []}, "cannot make a stream with policy=[]: it must be 'block', 'drop_oldest' or 'drop_newest'"),
    ],
)
def test_invalid_stream_arguments_are_refused(manager: EventManager, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StreamError) as caught:
        manager.stream(Opened, **arguments)

    assert str(caught.value) == sentence
    assert isinstance(caught.value, (EncoreError, ValueError))
    assert {caught.value.argument: caught.value.value} == arguments


def test_stream_refuses_invalid_class_filter_and_where(manager: EventManager) -> None:
    with pytest.raises(EventError):
        manager.stream(int)  # type: ignore[type-var]  # the error under test
    with pytest.raises(InvalidListenerError, match="cannot connect <EventStream of"):
        manager.stream(Opened, {"not a name": 1})
    with pytest.raises(InvalidListenerError):
        manager.stream(Opened, where=1)  # type: ignore[arg-type]  # the error under test
    manager.close()
    with pytest.raises(ManagerClosedError):
        manager.stream(Opened)
