"""Calls between any two steps of a connect or disconnect, as a thread, a garbage collection or a signal makes them."""

import contextlib
from collections.abc import Callable

import pytest

from encore_events import BaseEvent, EventManager
from tests.events.stepping import steps_of

pytestmark = pytest.mark.usefixtures("stepped_registry")


class Opened(BaseEvent):
    """An event."""


class Registry:
    """An event manager with a listener, and the events that it has received."""

    def __init__(self) -> None:
        self.manager = EventManager()
        self.received: list[BaseEvent] = []
        self.listener = self.received.append
        self.subscription = self.manager.connect(Opened, self.listener)

    def connect(self) -> None:
        self.subscription = self.manager.connect(Opened, self.listener)

    def connect_another(self) -> None:
        self.manager.connect(Opened, lambda _: None)

    def disconnect(self) -> None:
        with contextlib.suppress(KeyError):
            self.manager.disconnect(Opened, self.listener)

    def end(self) -> None:
        self.subscription.disconnect()

    def emit(self) -> None:
        self.manager.emit(Opened())

    def calls(self) -> int:
        """Return how often an event is received; check that the manager's listings agree."""
        self.received.clear()
        self.emit()
        connected = [func for func in self.manager.get_listeners(Opened) if func == self.listener]
        assert len(connected) == len(self.received)
        assert len(self.manager.signal(Opened).receivers) == len(self.manager.get_listeners(Opened))
        return len(self.received)


def test_connect_during_connect_leaves_one_connection() -> None:
    for step in steps_of(Registry.connect, at_least=20):
        registry = Registry()

        step.within(Registry.connect, registry)

        assert registry.calls() == 1
        registry.disconnect()
        assert registry.calls() == 0


def test_disconnect_during_connect_leaves_one_connection_or_none() -> None:
    for step in steps_of(Registry.disconnect, at_least=20):
        registry = Registry()

        step.within(Registry.connect, registry)

        assert registry.calls() in (0, 1)
        registry.connect()
        assert registry.calls() == 1


def test_connect_during_unsubscribe_of_the_replaced_connection_stays() -> None:
    for step in steps_of(Registry.connect, at_least=20):
        registry = Registry()
        first = registry.subscription

        step.within(lambda _, first=first: first.disconnect(), registry)  # type: ignore[misc]  # a default of its own

        assert registry.calls() == step.came


@pytest.mark.parametrize("change", [Registry.connect, Registry.disconnect, Registry.end])
@pytest.mark.parametrize("other", [Registry.connect_another, Registry.connect])
def test_connect_of_another_listener_between_two_steps_is_not_lost(
    change: Callable[[Registry], None], other: Callable[[Registry], None]
) -> None:
    for step in steps_of(Registry.connect_another, at_least=20):
        registry = Registry()
        other(registry)
        before = len(registry.manager.get_listeners(Opened))

        step.within(change, registry)

        lost = change is not Registry.connect
        assert len(registry.manager.get_listeners(Opened)) == before + step.came - lost
        assert registry.calls() == 1 - lost


def test_emit_during_reconnect_is_received_once() -> None:
    for step in steps_of(Registry.emit, at_least=20):
        registry = Registry()

        step.within(Registry.connect, registry)

        assert len(registry.received) == step.came
        assert registry.calls() == 1


def test_emit_between_two_steps_of_an_unsubscribe_is_received_by_a_new_connection() -> None:
    def reconnect_and_emit(registry: Registry) -> None:
        registry.connect()
        registry.emit()

    for step in steps_of(reconnect_and_emit, at_least=20):
        registry = Registry()

        step.within(Registry.end, registry)

        assert len(registry.received) == step.came


def silence(registry: Registry) -> None:
    with registry.manager.disabled(Opened):
        registry.emit()


def interrupt(_: Registry) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("change", [Registry.connect, Registry.disconnect, Registry.end])
def test_interrupt_of_a_change_leaves_listings_and_calls_in_agreement(change: Callable[[Registry], None]) -> None:
    for step in steps_of(interrupt, at_least=5, when="at signals"):
        registry = Registry()
        registry.emit()  # makes the plan

        with contextlib.suppress(KeyboardInterrupt):
            step.within(change, registry)

        assert registry.calls() in (0, 1)


def test_interrupt_of_a_disabled_block_leaves_the_class_either_enabled_or_not() -> None:
    for step in steps_of(interrupt, at_least=5, when="at signals"):
        registry = Registry()

        with contextlib.suppress(KeyboardInterrupt):
            step.within(silence, registry)

        registry.received.clear()
        registry.emit()
        assert len(registry.received) == registry.manager.is_enabled(Opened)


def test_sender_that_is_connected_in_a_predicate_is_heard_by_this_emit() -> None:
    manager, heard = EventManager(), list[object]()

    def receive(sender: object, event: BaseEvent) -> None:
        heard.append(sender)

    def connect_for_all(_: BaseEvent) -> bool:
        manager.signal(Opened).connect(receive)
        return True

    manager.connect(Opened, lambda _: None, where=connect_for_all, priority=1)
    manager.signal(Opened).connect(receive, sender="archive")

    manager.emit(Opened("archive"))
    assert heard == ["archive"]
    manager.emit(Opened("archive"))
    assert heard == ["archive"] * 2
