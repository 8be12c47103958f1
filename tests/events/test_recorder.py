"""What the tests of a program need to assert on its events."""

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


def test_a_recorder_keeps_every_event_in_order(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    events = [Opened(), Closed(), Reopened()]

    for event in events:
        manager.emit(event)

    assert recorder.events == events
    assert recorder.names() == ["Opened", "Closed", "Reopened"]


def test_a_recorder_of_a_class_keeps_it_and_its_subclasses(manager: EventManager) -> None:
    recorder = EventRecorder(manager, Opened)

    for event in (Opened(), Closed(), Reopened()):
        manager.emit(event)

    assert recorder.names() == ["Opened", "Reopened"]


def test_of_gives_the_events_of_a_class(manager: EventManager) -> None:
    recorder = EventRecorder(manager)

    for event in (Opened(), Closed(), Reopened()):
        manager.emit(event)

    assert [type(event) for event in recorder.of(Opened)] == [Opened, Reopened]
    assert recorder.of(Lost) == []


def test_one_gives_the_only_event_of_a_class(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    closed = Closed()

    manager.emit(Opened())
    manager.emit(closed)

    assert recorder.one(Closed) is closed


def test_one_of_none_and_one_of_many_are_failures_that_show_what_there_is(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    manager.emit(Opened(number=1))
    manager.emit(Reopened(number=2))

    with pytest.raises(AssertionError, match=r"0 events of Closed, not one; recorded: .*Opened"):
        recorder.one(Closed)
    with pytest.raises(AssertionError, match=r"2 events of Opened, .*number=1.*number=2"):
        recorder.one(Opened)


def test_clear_forgets_and_goes_on(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    manager.emit(Opened())

    recorder.clear()
    manager.emit(Closed())

    assert recorder.names() == ["Closed"]


def test_a_recorder_records_as_long_as_its_block(manager: EventManager) -> None:
    with EventRecorder(manager) as recorder:
        manager.emit(Opened())
    manager.emit(Closed())

    assert recorder.names() == ["Opened"]


def test_a_recorder_sees_an_event_before_it_can_be_vetoed(manager: EventManager) -> None:
    manager.connect(BaseEvent, BaseEvent.mark_as_handled, priority=1_000_000)
    recorder = EventRecorder(manager)

    manager.emit(Opened())

    assert recorder.names() == ["Opened"]


def test_first_is_before_every_priority_and_in_the_order_of_connects(manager: EventManager) -> None:
    heard: list[str] = []
    manager.connect(Opened, lambda event: heard.append("huge"), priority=10**300)
    manager.connect(Opened, lambda event: heard.append("first"), priority=FIRST)
    manager.connect(Opened, lambda event: heard.append("second"), priority=FIRST)

    manager.emit(Opened())

    assert heard == ["first", "second", "huge"]


def test_a_recorder_records_though_nobody_keeps_it(manager: EventManager) -> None:
    events = EventRecorder(manager).events
    gc.collect()

    manager.emit(Opened())

    assert len(events) == 1


def test_a_recorder_shows_how_much_it_has(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    manager.emit(Opened())
    manager.emit(Opened())

    assert repr(recorder) == "<EventRecorder: 2 events>"
