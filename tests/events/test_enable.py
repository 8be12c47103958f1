"""Disabling and enabling event classes."""

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


def test_events_are_enabled_by_default(manager: EventManager) -> None:
    assert manager.is_enabled(BaseEvent)
    assert manager.is_enabled(Opened)


def test_disable_silences_subclasses(manager: EventManager, recorder: EventRecorder) -> None:
    manager.disable(Opened)

    for event in (Opened(), Reopened(), Closed()):
        manager.emit(event)

    assert recorder.names() == ["Closed"]
    assert [manager.is_enabled(cls) for cls in (BaseEvent, Opened, Reopened, Closed)] == [True, False, False, True]


def test_has_listeners_is_false_for_disabled_class(manager: EventManager, recorder: EventRecorder) -> None:
    manager.disable(Opened)

    assert not manager.has_listeners(Reopened)


def test_disabled_event_runs_no_hooks(manager: EventManager, recorder: EventRecorder) -> None:
    event = Hooked()

    with manager.disabled(Opened):
        manager.emit(event)
    assert not event.finished

    manager.emit(event)
    assert event.finished


def test_enable_undoes_any_number_of_disables(manager: EventManager, recorder: EventRecorder) -> None:
    for _ in range(3):
        manager.disable(Opened)

    manager.enable(Opened)
    manager.emit(Reopened())

    assert recorder.names() == ["Reopened"]


def test_enable_of_subclass_keeps_base_class_disabled(manager: EventManager, recorder: EventRecorder) -> None:
    manager.disable(Opened)
    manager.disable(Reopened)

    manager.enable(Reopened)
    manager.emit(Reopened())

    assert recorder.events == []


def test_enable_of_enabled_class_does_nothing(manager: EventManager) -> None:
    manager.enable(Opened)

    assert manager.is_enabled(Opened)


def test_disabled_block_is_unaffected_by_enable(manager: EventManager, recorder: EventRecorder) -> None:
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


def test_disabled_block_ends_on_error(manager: EventManager) -> None:
    with pytest.raises(OSError, match="failed"), manager.disabled(Opened):
        raise OSError("failed")

    assert manager.is_enabled(Opened)


def test_class_disabled_before_block_stays_disabled(manager: EventManager) -> None:
    manager.disable(Opened)

    with manager.disabled(Opened):
        pass

    assert not manager.is_enabled(Opened)


def test_disable_refuses_non_event_classes(manager: EventManager) -> None:
    not_an_event: Any = int

    with pytest.raises(EventError, match="is not an event class"):
        manager.disable(not_an_event)
    with pytest.raises(EventError, match="is not an event class"):
        manager.disabled(not_an_event).__enter__()
