"""Silencing classes of events, and letting them be heard again."""

from typing import Any

import pytest

from encore_events import BaseEvent, EventError, EventManager
from encore_events.testing import EventRecorder


class Opened(BaseEvent):
    pass


class Reopened(Opened):
    pass


class Closed(BaseEvent):
    pass


class Hooked(Opened):
    finished = False

    def post_emit(self) -> None:
        self.finished = True


@pytest.fixture
def recorder(manager: EventManager) -> EventRecorder:
    return EventRecorder(manager)


def test_everything_is_enabled_at_first(manager: EventManager) -> None:
    assert manager.is_enabled(BaseEvent)
    assert manager.is_enabled(Opened)


def test_disabling_silences_the_subclasses_too(manager: EventManager, recorder: EventRecorder) -> None:
    manager.disable(Opened)

    for event in (Opened(), Reopened(), Closed()):
        manager.emit(event)

    assert recorder.names() == ["Closed"]
    assert [manager.is_enabled(cls) for cls in (BaseEvent, Opened, Reopened, Closed)] == [True, False, False, True]


def test_a_silenced_event_is_not_worth_building(manager: EventManager, recorder: EventRecorder) -> None:
    manager.disable(Opened)

    assert not manager.has_listeners(Reopened)


def test_a_silenced_event_does_not_even_run_its_hooks(manager: EventManager, recorder: EventRecorder) -> None:
    event = Hooked()

    with manager.disabled(Opened):
        manager.emit(event)
    assert not event.finished

    manager.emit(event)
    assert event.finished


def test_enabling_undoes_any_number_of_disables(manager: EventManager, recorder: EventRecorder) -> None:
    for _ in range(3):
        manager.disable(Opened)

    manager.enable(Opened)
    manager.emit(Reopened())

    assert recorder.names() == ["Reopened"]


def test_enabling_a_subclass_leaves_it_silenced_by_its_base(manager: EventManager, recorder: EventRecorder) -> None:
    manager.disable(Opened)
    manager.disable(Reopened)

    manager.enable(Reopened)
    manager.emit(Reopened())

    assert recorder.events == []


def test_enabling_what_is_enabled_is_nothing(manager: EventManager) -> None:
    manager.enable(Opened)

    assert manager.is_enabled(Opened)


def test_a_disabled_block_is_silent_to_its_end(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.disabled(Opened):
        manager.emit(Opened())
        manager.enable(Opened)
        manager.emit(Opened())
    manager.emit(Reopened())

    assert recorder.names() == ["Reopened"]


def test_disabled_blocks_nest(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.disabled(Opened):
        with manager.disabled(Opened), manager.disabled(BaseEvent):
            manager.emit(Closed())
        manager.emit(Opened())
        manager.emit(Closed())
    manager.emit(Opened())

    assert recorder.names() == ["Closed", "Opened"]


def test_a_block_that_raises_ends_as_well(manager: EventManager) -> None:
    with pytest.raises(OSError, match="failed"), manager.disabled(Opened):
        raise OSError("failed")

    assert manager.is_enabled(Opened)


def test_what_was_disabled_before_a_block_still_is_after_it(manager: EventManager) -> None:
    manager.disable(Opened)

    with manager.disabled(Opened):
        pass

    assert not manager.is_enabled(Opened)


def test_only_classes_of_events_can_be_silenced(manager: EventManager) -> None:
    not_an_event: Any = int

    with pytest.raises(EventError, match="is not an event class"):
        manager.disable(not_an_event)
    with pytest.raises(EventError, match="is not an event class"):
        manager.disabled(not_an_event).__enter__()
