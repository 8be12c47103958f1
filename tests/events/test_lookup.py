"""What an event manager says of itself: its listeners, hierarchy and known event classes."""

from typing import Any

import pytest

from encore_events import BaseEvent, EventError, EventInfo, EventManager


class Opened(BaseEvent):
    pass


class Timed:
    """No event, but a base class of one."""


class Reopened(Timed, Opened):
    pass


def one(event: BaseEvent) -> None: ...


def two(event: BaseEvent) -> None: ...


def three(event: BaseEvent) -> None: ...


class Box:
    def hear(self, event: BaseEvent) -> None: ...


def test_the_listeners_of_a_class_are_all_who_may_hear_it_in_order(manager: EventManager) -> None:
    manager.connect(Opened, one)
    manager.connect(Reopened, two, {"colour": "red"})
    manager.connect(BaseEvent, three, priority=1)

    assert manager.get_listeners(Reopened) == [three, one, two]
    assert manager.get_listeners(Opened) == [three, one]


def test_the_listeners_of_an_event_are_those_it_would_reach(manager: EventManager) -> None:
    manager.connect(Opened, one, {"colour": "red"})
    manager.connect(Opened, two, {"colour": "blue"})
    manager.connect(Opened, three, where=lambda event: True)

    assert manager.get_listeners(Opened(colour="blue")) == [two, three]


def test_a_method_is_listed_as_it_was_connected(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.hear)

    assert manager.get_listeners(Opened) == [box.hear]


def test_the_hierarchy_of_an_event_has_only_classes_of_events(manager: EventManager) -> None:
    assert manager.get_event_hierarchy(Reopened) == (Reopened, Opened, BaseEvent)


def test_only_classes_of_events_have_a_hierarchy(manager: EventManager) -> None:
    not_an_event: Any = Timed

    with pytest.raises(EventError, match="Timed'> is not an event class"):
        manager.get_event_hierarchy(not_an_event)


def test_a_class_is_known_once_something_connected_to_it(manager: EventManager) -> None:
    manager.connect(Opened, one)
    manager.connect(BaseEvent, three)

    assert manager.get_event(Opened) == EventInfo(Opened, (one,), enabled=True)


def test_a_class_is_known_once_it_is_registered(manager: EventManager) -> None:
    manager.register(Opened)
    manager.disable(BaseEvent)

    assert manager.get_event(Opened) == EventInfo(Opened, (), enabled=False)


def test_an_unknown_class_is_a_key_error(manager: EventManager) -> None:
    with pytest.raises(KeyError):
        manager.get_event(Opened)


def test_all_known_classes_come_as_a_mapping(manager: EventManager) -> None:
    manager.register(Opened)
    manager.connect(Reopened, two)

    assert manager.get_event() == {
        Opened: EventInfo(Opened, (), enabled=True),
        Reopened: EventInfo(Reopened, (two,), enabled=True),
    }


def test_a_manager_shows_how_many_listen(manager: EventManager) -> None:
    manager.connect(Opened, one)
    assert repr(manager) == "<EventManager: 1 listener>"

    manager.close()
    assert repr(manager) == "<EventManager: 0 listeners, closed>"
