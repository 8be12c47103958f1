"""Who is connected: connecting, replacing, disconnecting, and what makes two listeners the same one."""

import functools
import gc
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from encore_events import BaseEvent, BaseEventManager, EventError, EventManager, InvalidListenerError, NotConnectedError


class Opened(BaseEvent):
    pass


class Reopened(Opened):
    pass


class Closed(BaseEvent):
    pass


class Box:
    """Something with methods that listen."""

    def __init__(self) -> None:
        self.heard: list[BaseEvent] = []

    def hear(self, event: BaseEvent) -> None:
        self.heard.append(event)

    def hear_too(self, event: BaseEvent) -> None:
        self.heard.append(event)


class EqualBox(Box):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class UnhashableBox(Box):
    __hash__ = None  # type: ignore[assignment]  # that is what makes it unhashable


class SlottedBox:
    __slots__ = ("heard",)

    def __init__(self) -> None:
        self.heard: list[BaseEvent] = []

    def hear(self, event: BaseEvent) -> None:
        self.heard.append(event)


class Judge:
    """A listener that is no function."""

    def __init__(self) -> None:
        self.heard: list[BaseEvent] = []

    def __call__(self, event: BaseEvent) -> None:
        self.heard.append(event)


def test_a_listener_hears_its_class_and_the_subclasses(manager: EventManager) -> None:
    heard: list[str] = []
    manager.connect(Opened, lambda event: heard.append(type(event).__name__))

    for event in (BaseEvent(), Opened(), Closed(), Reopened()):
        manager.emit(event)

    assert heard == ["Opened", "Reopened"]


def test_connecting_again_replaces_and_moves_last(manager: EventManager) -> None:
    heard: list[str] = []

    def first(event: BaseEvent) -> None:
        heard.append("first")

    manager.connect(Opened, first)
    manager.connect(Opened, lambda event: heard.append("second"))
    manager.connect(Opened, first)
    manager.emit(Opened())

    assert heard == ["second", "first"]


def test_connecting_again_replaces_filter_predicate_and_priority(manager: EventManager) -> None:
    heard: list[str] = []

    def first(event: BaseEvent) -> None:
        heard.append("first")

    manager.connect(Opened, first, {"never": 1}, -1, where=lambda event: False)
    manager.connect(Opened, lambda event: heard.append("second"))
    manager.connect(Opened, first, priority=1)
    manager.emit(Opened())

    assert heard == ["first", "second"]


def test_one_function_may_listen_to_several_classes(manager: EventManager) -> None:
    heard: list[BaseEvent] = []
    manager.connect(Opened, heard.append)
    manager.connect(Reopened, heard.append)

    manager.emit(Reopened())
    manager.disconnect(Reopened, heard.append)
    manager.emit(Reopened())

    assert len(heard) == 3


def test_who_is_disconnected_hears_no_more(manager: EventManager) -> None:
    heard: list[BaseEvent] = []
    manager.connect(Opened, heard.append)
    manager.emit(Opened())

    manager.disconnect(Opened, heard.append)
    manager.emit(Opened())

    assert len(heard) == 1


@pytest.mark.parametrize("cls", [BaseEvent, Reopened, Closed])
def test_disconnecting_what_is_not_connected_to_that_class_is_a_key_error(
    manager: EventManager, cls: type[BaseEvent]
) -> None:
    manager.connect(Opened, print)

    with pytest.raises(KeyError) as caught:
        manager.disconnect(cls, print)

    assert isinstance(caught.value, NotConnectedError)
    assert str(caught.value) == f"<built-in function print> is not connected to {cls.__name__}"


def test_a_method_is_the_same_listener_each_time_it_is_looked_up(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.hear)
    manager.connect(Opened, box.hear)
    manager.connect(Opened, box.hear_too)

    manager.emit(Opened())
    manager.disconnect(Opened, box.hear)
    manager.disconnect(Opened, box.hear_too)
    manager.emit(Opened())

    assert len(box.heard) == 2


@pytest.mark.parametrize("kind", [EqualBox, UnhashableBox])
def test_equal_or_unhashable_objects_are_listeners_of_their_own(manager: EventManager, kind: type[Box]) -> None:
    boxes = [kind(), kind(), kind()]
    assert kind is UnhashableBox or len(set(boxes)) == 1
    for box in boxes:
        manager.connect(Opened, box.hear)

    manager.disconnect(Opened, boxes[1].hear)
    manager.emit(Opened())

    assert [len(box.heard) for box in boxes] == [1, 0, 1]


def test_equal_listener_objects_are_listeners_of_their_own(manager: EventManager) -> None:
    class EqualJudge(Judge):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # unhashable too

    judges = [EqualJudge(), EqualJudge()]
    assert judges[0] == judges[1]
    for judge in judges:
        manager.connect(Opened, judge)

    manager.emit(Opened())

    assert [len(judge.heard) for judge in judges] == [1, 1]


def test_a_builtin_method_is_known_by_its_name_and_its_object(manager: EventManager) -> None:
    heard: list[BaseEvent] = []
    others: list[BaseEvent] = []
    for _ in range(2):
        manager.connect(Opened, heard.append)
        manager.connect(Opened, others.append)

    manager.emit(Opened())
    manager.disconnect(Opened, others.append)
    manager.emit(Opened())

    assert (len(heard), len(others)) == (2, 1)


def test_so_is_a_method_wrapper(manager: EventManager) -> None:
    number = 1000
    manager.connect(Opened, number.__eq__)
    manager.connect(Opened, number.__eq__)
    manager.connect(Opened, number.__ne__)

    assert repr(manager) == "<EventManager: 2 listeners>"
    manager.disconnect(Opened, number.__eq__)
    assert repr(manager) == "<EventManager: 1 listener>"


def test_a_method_is_held_weakly(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.hear)
    assert manager.has_listeners(Opened)

    del box

    assert not manager.has_listeners(Opened)
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_its_subscription_does_not_hold_it_either(manager: EventManager) -> None:
    box = Box()
    subscription = manager.connect(Opened, box.hear)
    held = subscription.listener
    assert held == box.hear

    del box, held

    assert subscription.listener is None
    assert not manager.has_listeners(Opened)
    subscription.disconnect()


def test_a_method_may_be_held(manager: EventManager) -> None:
    box = Box()
    heard = box.heard
    manager.connect(Opened, box.hear, weak=False)

    del box
    manager.emit(Opened())

    assert len(heard) == 1


def test_a_function_is_held(manager: EventManager) -> None:
    heard: list[BaseEvent] = []

    def connect() -> None:
        def listen(event: BaseEvent) -> None:
            heard.append(event)

        manager.connect(Opened, listen)

    connect()
    gc.collect()
    manager.emit(Opened())

    assert len(heard) == 1


def test_a_function_may_be_held_weakly(manager: EventManager) -> None:
    judge = Judge()
    heard = judge.heard
    manager.connect(Opened, judge, weak=True)
    manager.emit(Opened())

    del judge
    manager.emit(Opened())

    assert len(heard) == 1
    assert not manager.has_listeners(Opened)


def test_an_object_in_a_cycle_is_gone_once_it_is_collected(manager: EventManager) -> None:
    box: Any = Box()
    box.itself = box
    manager.connect(Opened, box.hear)

    del box
    gc.collect()

    assert not manager.has_listeners(Opened)


@pytest.mark.parametrize("listener", [SlottedBox().hear, deque[BaseEvent]().append, (1).__eq__])
def test_what_cannot_be_referred_to_weakly_is_refused(manager: EventManager, listener: Callable[..., object]) -> None:
    with pytest.raises(InvalidListenerError, match="pass weak=False to hold it strongly"):
        manager.connect(Opened, listener, weak=True)


def test_a_method_of_a_slotted_object_must_be_held(manager: EventManager) -> None:
    box = SlottedBox()
    with pytest.raises(InvalidListenerError, match="does not support weak references"):
        manager.connect(Opened, box.hear)

    manager.connect(Opened, box.hear, weak=False)
    manager.emit(Opened())

    assert len(box.heard) == 1


def test_the_death_of_a_replaced_connection_leaves_the_new_one(manager: EventManager) -> None:
    judge = Judge()
    heard = judge.heard
    manager.connect(Opened, judge, weak=True)
    manager.connect(Opened, judge, weak=False)

    del judge
    gc.collect()
    manager.emit(Opened())

    assert len(heard) == 1


def test_the_death_of_a_disconnected_listener_is_nothing(manager: EventManager) -> None:
    box = Box()
    subscription = manager.connect(Opened, box.hear)
    manager.disconnect(Opened, box.hear)

    del box

    assert subscription.listener is None


def test_a_manager_that_nobody_needs_is_collected() -> None:
    manager = EventManager()
    box = Box()
    manager.connect(Opened, box.hear)
    manager.connect(Opened, print)
    gone = weakref.ref(manager)

    del manager
    gc.collect()

    assert gone() is None


@pytest.mark.parametrize("listener", [vars, str, Judge().__call__, functools.partial(print, "heard"), lambda *_: 0])
def test_whatever_can_be_called_with_the_event_may_listen(
    manager: EventManager, listener: Callable[..., object]
) -> None:
    manager.connect(Opened, listener)

    assert manager.get_listeners(Opened) == [listener]


async def generating(event: BaseEvent) -> AsyncIterator[int]:
    yield 1  # pragma: no cover (calling it runs nothing, and that is why it is refused)


async def awaiting(event: BaseEvent) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"func": 5}, "5: it is not callable"),
        ({"func": lambda event: (yield)}, "generator function"),
        ({"func": generating}, "generator function"),
        ({"func": lambda: None}, "cannot be called with one argument"),
        ({"func": lambda event, more: None}, "cannot be called with one argument"),
        ({"filter": ["colour"]}, r"filter must map names of attributes to values, not \['colour'\]"),
        ({"filter": {5: "red"}}, "filter must map"),
        ({"filter": {"not a name": 1}}, "filter must map"),
        ({"filter": {"a..b": 1}}, "filter must map"),
        ({"where": "red"}, "where must be a plain function of the event, not 'red'"),
        ({"where": awaiting}, "where must be a plain function"),
        ({"priority": "high"}, "priority must be a number, not 'high'"),
        ({"priority": float("nan")}, "priority must be a number, not nan"),
    ],
)
def test_a_mistake_is_refused_where_it_is_made(manager: EventManager, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidListenerError, match=reason):
        manager.connect(Opened, **{"func": print, **arguments})

    assert not manager.has_listeners(Opened)


@pytest.mark.parametrize("cls", [int, 5, "Opened", Opened()])
def test_only_classes_of_events_can_be_listened_to(manager: EventManager, cls: Any) -> None:
    with pytest.raises(EventError, match="is not an event class: derive it from BaseEvent"):
        manager.connect(cls, print)


def test_an_invalid_listener_error_keeps_what_was_refused() -> None:
    error = InvalidListenerError(5, "it is not callable")

    assert (error.listener, error.reason) == (5, "it is not callable")


def test_a_subscription_ends_its_connection(manager: EventManager) -> None:
    subscription = manager.connect(Opened, print)

    subscription.disconnect()
    subscription.disconnect()

    assert not manager.has_listeners(Opened)


def test_a_subscription_lasts_as_long_as_its_block(manager: EventManager) -> None:
    heard: list[BaseEvent] = []

    with manager.connect(Opened, heard.append) as subscription:
        manager.emit(Opened())
    manager.emit(Opened())

    assert len(heard) == 1
    assert subscription.cls is Opened


def test_the_subscription_of_a_replaced_connection_does_nothing(manager: EventManager) -> None:
    replaced = manager.connect(Opened, print)
    manager.connect(Opened, print)

    replaced.disconnect()

    assert manager.get_listeners(Opened) == [print]


def test_a_subscription_says_who_listens_to_what(manager: EventManager) -> None:
    assert repr(manager.connect(Opened, print)) == "<Subscription: <built-in function print> to Opened>"


def test_a_decorator_connects_and_leaves_the_function_as_it_is(manager: EventManager) -> None:
    heard: list[str] = []

    @manager.on(Opened, {"colour": "red"}, 1, where=lambda event: event.size > 1)
    def listen(event: BaseEvent) -> None:
        heard.append("listen")

    manager.connect(Opened, lambda event: heard.append("other"))
    for colour, size in (("red", 2), ("red", 1), ("blue", 2)):
        manager.emit(Opened(colour=colour, size=size))

    assert heard == ["listen", "other", "other", "other"]
    assert listen.__name__ == "listen"


def test_an_abstract_event_manager_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseEventManager()  # type: ignore[abstract]  # as it should be


def test_the_decorator_needs_its_class(manager: EventManager) -> None:
    with pytest.raises(EventError, match="is not an event class"):

        @manager.on  # type: ignore[arg-type]  # that is what is tested
        def listener(event: BaseEvent) -> None:
            pass
