"""Connecting, replacing and disconnecting listeners, and their identity."""

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
    """An object whose methods are listeners."""

    def __init__(self) -> None:
        self.received: list[BaseEvent] = []

    def receive(self, event: BaseEvent) -> None:
        self.received.append(event)

    def receive_too(self, event: BaseEvent) -> None:
        self.received.append(event)


class EqualBox(Box):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class UnhashableBox(Box):
    __hash__ = None  # type: ignore[assignment]  # makes it unhashable


class SlottedBox:
    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received: list[BaseEvent] = []

    def receive(self, event: BaseEvent) -> None:
        self.received.append(event)


class CallableObject:
    """A callable object as a listener."""

    def __init__(self) -> None:
        self.received: list[BaseEvent] = []

    def __call__(self, event: BaseEvent) -> None:
        self.received.append(event)


def test_listener_receives_its_class_and_subclasses(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(Opened, lambda event: received.append(type(event).__name__))

    for event in (BaseEvent(), Opened(), Closed(), Reopened()):
        manager.emit(event)

    assert received == ["Opened", "Reopened"]


def test_reconnect_replaces_and_moves_last(manager: EventManager) -> None:
    received: list[str] = []

    def first(event: BaseEvent) -> None:
        received.append("first")

    manager.connect(Opened, first)
    manager.connect(Opened, lambda event: received.append("second"))
    manager.connect(Opened, first)
    manager.emit(Opened())

    assert received == ["second", "first"]


def test_reconnect_replaces_filter_predicate_and_priority(manager: EventManager) -> None:
    received: list[str] = []

    def first(event: BaseEvent) -> None:
        received.append("first")

    manager.connect(Opened, first, {"never": 1}, -1, where=lambda event: False)
    manager.connect(Opened, lambda event: received.append("second"))
    manager.connect(Opened, first, priority=1)
    manager.emit(Opened())

    assert received == ["first", "second"]


def test_function_can_listen_to_several_classes(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)
    manager.connect(Reopened, received.append)

    manager.emit(Reopened())
    manager.disconnect(Reopened, received.append)
    manager.emit(Reopened())

    assert len(received) == 3


def test_disconnected_listener_is_not_called(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)
    manager.emit(Opened())

    manager.disconnect(Opened, received.append)
    manager.emit(Opened())

    assert len(received) == 1


@pytest.mark.parametrize("cls", [BaseEvent, Reopened, Closed])
def test_disconnect_of_unconnected_listener_raises_key_error(manager: EventManager, cls: type[BaseEvent]) -> None:
    manager.connect(Opened, print)

    with pytest.raises(KeyError) as caught:
        manager.disconnect(cls, print)

    assert isinstance(caught.value, NotConnectedError)
    assert str(caught.value) == f"<built-in function print> is not connected to {cls.__name__}"


def test_method_is_the_same_listener_at_each_lookup(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.receive)
    manager.connect(Opened, box.receive)
    manager.connect(Opened, box.receive_too)

    manager.emit(Opened())
    manager.disconnect(Opened, box.receive)
    manager.disconnect(Opened, box.receive_too)
    manager.emit(Opened())

    assert len(box.received) == 2


@pytest.mark.parametrize("kind", [EqualBox, UnhashableBox])
def test_methods_of_equal_or_unhashable_objects_are_distinct_listeners(manager: EventManager, kind: type[Box]) -> None:
    boxes = [kind(), kind(), kind()]
    assert kind is UnhashableBox or len(set(boxes)) == 1
    for box in boxes:
        manager.connect(Opened, box.receive)

    manager.disconnect(Opened, boxes[1].receive)
    manager.emit(Opened())

    assert [len(box.received) for box in boxes] == [1, 0, 1]


def test_equal_callable_objects_are_distinct_listeners(manager: EventManager) -> None:
    class EqualObject(CallableObject):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # unhashable too

    objects = [EqualObject(), EqualObject()]
    assert objects[0] == objects[1]
    for listener in objects:
        manager.connect(Opened, listener)

    manager.emit(Opened())

    assert [len(listener.received) for listener in objects] == [1, 1]


def test_builtin_method_is_identified_by_name_and_object(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    others: list[BaseEvent] = []
    for _ in range(2):
        manager.connect(Opened, received.append)
        manager.connect(Opened, others.append)

    manager.emit(Opened())
    manager.disconnect(Opened, others.append)
    manager.emit(Opened())

    assert (len(received), len(others)) == (2, 1)


def test_method_wrapper_is_identified_by_name_and_object(manager: EventManager) -> None:
    number = 1000
    manager.connect(Opened, number.__eq__)
    manager.connect(Opened, number.__eq__)
    manager.connect(Opened, number.__ne__)

    assert repr(manager) == "<EventManager: 2 listeners>"
    manager.disconnect(Opened, number.__eq__)
    assert repr(manager) == "<EventManager: 1 listener>"


def test_method_is_held_weakly(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.receive)
    assert manager.has_listeners(Opened)

    del box

    assert not manager.has_listeners(Opened)
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_subscription_does_not_hold_a_method(manager: EventManager) -> None:
    box = Box()
    subscription = manager.connect(Opened, box.receive)
    held = subscription.listener
    assert held == box.receive

    del box, held

    assert subscription.listener is None
    assert not manager.has_listeners(Opened)
    subscription.disconnect()


def test_method_can_be_held_strongly(manager: EventManager) -> None:
    box = Box()
    received = box.received
    manager.connect(Opened, box.receive, weak=False)

    del box
    manager.emit(Opened())

    assert len(received) == 1


def test_function_is_held_strongly(manager: EventManager) -> None:
    received: list[BaseEvent] = []

    def connect() -> None:
        def listen(event: BaseEvent) -> None:
            received.append(event)

        manager.connect(Opened, listen)

    connect()
    gc.collect()
    manager.emit(Opened())

    assert len(received) == 1


def test_function_can_be_held_weakly(manager: EventManager) -> None:
    listener = CallableObject()
    received = listener.received
    manager.connect(Opened, listener, weak=True)
    manager.emit(Opened())

    del listener
    manager.emit(Opened())

    assert len(received) == 1
    assert not manager.has_listeners(Opened)


def test_object_in_a_cycle_is_disconnected_when_collected(manager: EventManager) -> None:
    box: Any = Box()
    box.itself = box
    manager.connect(Opened, box.receive)

    del box
    gc.collect()

    assert not manager.has_listeners(Opened)


@pytest.mark.parametrize("listener", [SlottedBox().receive, deque[BaseEvent]().append, (1).__eq__])
def test_weak_connect_without_weak_reference_support_is_refused(
    manager: EventManager, listener: Callable[..., object]
) -> None:
    with pytest.raises(InvalidListenerError, match="pass weak=False to hold it strongly"):
        manager.connect(Opened, listener, weak=True)


def test_method_of_slotted_object_must_be_held_strongly(manager: EventManager) -> None:
    box = SlottedBox()
    with pytest.raises(InvalidListenerError, match="does not support weak references"):
        manager.connect(Opened, box.receive)

    manager.connect(Opened, box.receive, weak=False)
    manager.emit(Opened())

    assert len(box.received) == 1


def test_collecting_a_replaced_listener_keeps_the_new_connection(manager: EventManager) -> None:
    listener = CallableObject()
    received = listener.received
    manager.connect(Opened, listener, weak=True)
    manager.connect(Opened, listener, weak=False)

    del listener
    gc.collect()
    manager.emit(Opened())

    assert len(received) == 1


def test_collecting_a_disconnected_listener_does_nothing(manager: EventManager) -> None:
    box = Box()
    subscription = manager.connect(Opened, box.receive)
    manager.disconnect(Opened, box.receive)

    del box

    assert subscription.listener is None


def test_unreferenced_manager_is_collected() -> None:
    manager = EventManager()
    box = Box()
    manager.connect(Opened, box.receive)
    manager.connect(Opened, print)
    gone = weakref.ref(manager)

    del manager
    gc.collect()

    assert gone() is None


@pytest.mark.parametrize(
    "listener", [vars, str, CallableObject().__call__, functools.partial(print, "received"), lambda *_: 0]
)
def test_any_callable_of_one_argument_can_listen(manager: EventManager, listener: Callable[..., object]) -> None:
    manager.connect(Opened, listener)

    assert manager.get_listeners(Opened) == [listener]


async def generating(event: BaseEvent) -> AsyncIterator[int]:
    yield 1  # pragma: no cover (never run: calling a generator function runs nothing)


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
def test_connect_refuses_invalid_arguments(manager: EventManager, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidListenerError, match=reason):
        manager.connect(Opened, **{"func": print, **arguments})

    assert not manager.has_listeners(Opened)


@pytest.mark.parametrize("cls", [int, 5, "Opened", Opened()])
def test_connect_refuses_non_event_classes(manager: EventManager, cls: Any) -> None:
    with pytest.raises(EventError, match="is not an event class: derive it from BaseEvent"):
        manager.connect(cls, print)


def test_invalid_listener_error_has_listener_and_reason() -> None:
    error = InvalidListenerError(5, "it is not callable")

    assert (error.listener, error.reason) == (5, "it is not callable")


def test_subscription_disconnect_ends_the_connection(manager: EventManager) -> None:
    subscription = manager.connect(Opened, print)

    subscription.disconnect()
    subscription.disconnect()

    assert not manager.has_listeners(Opened)


def test_subscription_block_ends_the_connection(manager: EventManager) -> None:
    received: list[BaseEvent] = []

    with manager.connect(Opened, received.append) as subscription:
        manager.emit(Opened())
    manager.emit(Opened())

    assert len(received) == 1
    assert subscription.cls is Opened


def test_subscription_of_replaced_connection_does_nothing(manager: EventManager) -> None:
    replaced = manager.connect(Opened, print)
    manager.connect(Opened, print)

    replaced.disconnect()

    assert manager.get_listeners(Opened) == [print]


def test_subscription_repr_names_listener_and_class(manager: EventManager) -> None:
    assert repr(manager.connect(Opened, print)) == "<Subscription: <built-in function print> to Opened>"


def test_decorator_connects_and_returns_the_function(manager: EventManager) -> None:
    received: list[str] = []

    @manager.on(Opened, {"colour": "red"}, 1, where=lambda event: event.size > 1)
    def listen(event: BaseEvent) -> None:
        received.append("listen")

    manager.connect(Opened, lambda event: received.append("other"))
    for colour, size in (("red", 2), ("red", 1), ("blue", 2)):
        manager.emit(Opened(colour=colour, size=size))

    assert received == ["listen", "other", "other", "other"]
    assert listen.__name__ == "listen"


def test_abstract_event_manager_cannot_be_instantiated() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseEventManager()  # type: ignore[abstract]  # the error under test


def test_decorator_without_class_is_refused(manager: EventManager) -> None:
    with pytest.raises(EventError, match="is not an event class"):

        @manager.on  # type: ignore[arg-type]  # the error under test
        def listener(event: BaseEvent) -> None:
            pass
