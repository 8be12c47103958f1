"""EventRecorder."""

import gc

import pytest

from encore_events import FIRST, BaseEvent, EventManager
from encore_events.testing import EventRecorder


class Opened(BaseEvent):
    pass


class Reopened(Opened):
    pass


class Closed(BaseEvent):
    pass


class Lost(BaseEvent):
    pass


def test_recorder_keeps_events_in_order(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    events = [Opened(), Closed(), Reopened()]

    for event in events:
        manager.emit(event)

    assert recorder.events == events
    assert recorder.names() == ["Opened", "Closed", "Reopened"]


def test_recorder_of_a_class_keeps_subclasses(manager: EventManager) -> None:
    recorder = EventRecorder(manager, Opened)

    for event in (Opened(), Closed(), Reopened()):
        manager.emit(event)

    assert recorder.names() == ["Opened", "Reopened"]


def test_of_returns_events_of_a_class(manager: EventManager) -> None:
    recorder = EventRecorder(manager)

    for event in (Opened(), Closed(), Reopened()):
        manager.emit(event)

    assert [type(event) for event in recorder.of(Opened)] == [Opened, Reopened]
    assert recorder.of(Lost) == []


def test_one_returns_the_only_event(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    closed = Closed()

    manager.emit(Opened())
    manager.emit(closed)

    assert recorder.one(Closed) is closed


def test_one_fails_for_none_or_many_and_lists_events(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    manager.emit(Opened(number=1))
    manager.emit(Reopened(number=2))

    with pytest.raises(AssertionError, match=r"0 events of Closed, not one; recorded: .*Opened"):
        recorder.one(Closed)
    with pytest.raises(AssertionError, match=r"2 events of Opened, .*number=1.*number=2"):
        recorder.one(Opened)


def test_clear_forgets_and_keeps_recording(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    manager.emit(Opened())

    recorder.clear()
    manager.emit(Closed())

    assert recorder.names() == ["Closed"]


def test_recorder_block_ends_recording(manager: EventManager) -> None:
    with EventRecorder(manager) as recorder:
        manager.emit(Opened())
    manager.emit(Closed())

    assert recorder.names() == ["Opened"]


def test_recorder_sees_vetoed_events(manager: EventManager) -> None:
    manager.connect(BaseEvent, BaseEvent.mark_as_handled, priority=1_000_000)
    recorder = EventRecorder(manager)

    manager.emit(Opened())

    assert recorder.names() == ["Opened"]


def test_first_precedes_every_priority(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(Opened, lambda event: received.append("huge"), priority=10**300)
    manager.connect(Opened, lambda event: received.append("first"), priority=FIRST)
    manager.connect(Opened, lambda event: received.append("second"), priority=FIRST)

    manager.emit(Opened())

    assert received == ["first", "second", "huge"]


def test_unreferenced_recorder_keeps_recording(manager: EventManager) -> None:
    events = EventRecorder(manager).events
    gc.collect()

    manager.emit(Opened())

    assert len(events) == 1


def test_recorder_repr_counts_events(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    manager.emit(Opened())
    manager.emit(Opened())

    assert repr(recorder) == "<EventRecorder: 2 events>"
