"""An event manager's listeners, hierarchy and known event classes."""

from typing import Any

import pytest

from encore_events import BaseEvent, EventError, EventInfo, EventManager


class Opened(BaseEvent):
    pass


class Timed:
    """A base class of an event, but no event class."""


class Reopened(Timed, Opened):
    pass


def one(event: BaseEvent) -> None: ...


def two(event: BaseEvent) -> None: ...


def three(event: BaseEvent) -> None: ...


class Box:
    def receive(self, event: BaseEvent) -> None: ...


def test_get_listeners_of_class_returns_all_in_order(manager: EventManager) -> None:
    manager.connect(Opened, one)
    manager.connect(Reopened, two, {"colour": "red"})
    manager.connect(BaseEvent, three, priority=1)

    assert manager.get_listeners(Reopened) == [three, one, two]
    assert manager.get_listeners(Opened) == [three, one]


def test_get_listeners_of_event_applies_filters(manager: EventManager) -> None:
    manager.connect(Opened, one, {"colour": "red"})
    manager.connect(Opened, two, {"colour": "blue"})
    manager.connect(Opened, three, where=lambda event: True)

    assert manager.get_listeners(Opened(colour="blue")) == [two, three]


def test_get_listeners_returns_methods_as_connected(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.receive)

    assert manager.get_listeners(Opened) == [box.receive]


def test_hierarchy_has_event_classes_only(manager: EventManager) -> None:
    assert manager.get_event_hierarchy(Reopened) == (Reopened, Opened, BaseEvent)


def test_hierarchy_of_non_event_class_is_refused(manager: EventManager) -> None:
    not_an_event: Any = Timed

    with pytest.raises(EventError, match="Timed'> is not an event class"):
        manager.get_event_hierarchy(not_an_event)


def test_connected_class_is_known(manager: EventManager) -> None:
    manager.connect(Opened, one)
    manager.connect(BaseEvent, three)

    assert manager.get_event(Opened) == EventInfo(Opened, (one,), enabled=True)


def test_registered_class_is_known(manager: EventManager) -> None:
    manager.register(Opened)
    manager.disable(BaseEvent)

    assert manager.get_event(Opened) == EventInfo(Opened, (), enabled=False)


def test_get_event_of_unknown_class_raises_key_error(manager: EventManager) -> None:
    with pytest.raises(KeyError):
        manager.get_event(Opened)


def test_get_event_without_class_returns_all_known_classes(manager: EventManager) -> None:
    manager.register(Opened)
    manager.connect(Reopened, two)

    assert manager.get_event() == {
        Opened: EventInfo(Opened, (), enabled=True),
        Reopened: EventInfo(Reopened, (two,), enabled=True),
    }


def test_manager_repr_counts_listeners(manager: EventManager) -> None:
    manager.connect(Opened, one)
    assert repr(manager) == "<EventManager: 1 listener>"

    manager.close()
    assert repr(manager) == "<EventManager: 0 listeners, closed>"
