"""Calls between the steps of a connect or a disconnect.

Each of these steps hashes the event class, so a class with its own hash can make another call between
two steps, as a thread, a garbage collection or a signal does.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager

STEPS = range(1, 9)


class Interrupted(type):
    """A metaclass whose n-th hash calls `interrupts[n]`."""

    interrupts: dict[int, Callable[[], object]]
    hashes: int

    def __hash__(cls) -> int:
        cls.hashes += 1
        interrupt = cls.interrupts.pop(cls.hashes, None)
        if interrupt is not None:
            with contextlib.suppress(KeyError):
                interrupt()
        return 7


class Opened(BaseEvent, metaclass=Interrupted):
    interrupts: dict[int, Callable[[], object]] = {}  # noqa: RUF012 (it is the metaclass's)
    hashes = 0


@pytest.fixture(autouse=True)
def _no_interrupts() -> Iterator[None]:
    Opened.interrupts = {}
    yield
    Opened.interrupts = {}


def interrupted(interrupts: dict[int, Callable[[], object]], call: Callable[[], Any]) -> Any:
    """Return the result of `call`, after each interrupt came at its step."""
    Opened.hashes, Opened.interrupts = 0, interrupts
    result = call()
    Opened.interrupts = {}
    return result


def calls_of(manager: EventManager, received: list[BaseEvent]) -> int:
    """Return how often an event is received; check that the manager's listing agrees."""
    received.clear()
    manager.emit(Opened())
    assert repr(manager).startswith(f"<EventManager: {len(received)} listener")
    assert manager.get_listeners(Opened) == [received.append] * len(received)
    return len(received)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_connected", [True, False])
def test_nested_connect_leaves_one_connection(manager: EventManager, step: int, *, is_connected: bool) -> None:
    received: list[BaseEvent] = []
    if is_connected:
        manager.connect(Opened, received.append)

    interrupted(
        {step: lambda: manager.connect(Opened, received.append)}, lambda: manager.connect(Opened, received.append)
    )

    assert calls_of(manager, received) == 1
    manager.disconnect(Opened, received.append)
    assert calls_of(manager, received) == 0


@pytest.mark.parametrize("step", STEPS)
def test_disconnect_during_connect_leaves_one_connection_or_none(manager: EventManager, step: int) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)

    interrupted(
        {step: lambda: manager.disconnect(Opened, received.append)}, lambda: manager.connect(Opened, received.append)
    )

    assert calls_of(manager, received) in (0, 1)
    manager.connect(Opened, received.append)
    assert calls_of(manager, received) == 1


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(STEPS, 2)))
def test_connects_during_unsubscribe_leave_one_connection(manager: EventManager, first: int, second: int) -> None:
    received: list[BaseEvent] = []
    subscription = manager.connect(Opened, received.append)

    def connect() -> None:
        manager.connect(Opened, received.append)

    interrupts: dict[int, Callable[[], object]] = {first: connect}
    interrupted(interrupts, subscription.disconnect)
    came = not interrupts

    assert calls_of(manager, received) == came
    subscription = manager.connect(Opened, received.append)
    interrupted({first: connect, second: connect}, subscription.disconnect)
    assert calls_of(manager, received) == came


@pytest.mark.parametrize("step", STEPS)
def test_emit_during_reconnect_is_received_once(manager: EventManager, step: int) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)
    interrupts: dict[int, Callable[[], object]] = {step: lambda: manager.emit(Opened())}

    interrupted(interrupts, lambda: manager.connect(Opened, received.append))

    assert len(received) == (not interrupts)
    assert calls_of(manager, received) == 1
