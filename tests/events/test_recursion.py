"""RecursionErrors: isolated as the failing listener's own, unless the bus recurses."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder

Emit = Callable[[EventManager, BaseEvent], object]


class Opened(BaseEvent):
    @property
    def endless(self) -> int:
        return int(self.endless)


class Hooked(Opened):
    def post_emit(self) -> None:
        pass


class Closed(BaseEvent):
    pass


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def endlessly(event: object) -> object:
    return endlessly(event)


def in_pieces(event: object, left: int = 40) -> object:
    """Recurse endlessly after some calls, in which the stack is no deeper than the bus's own."""
    return in_pieces(event, left - 1) if left else endlessly(event)


class Endless:
    def __call__(self, event: object) -> object:
        return endlessly(event)

    def method(self, event: object) -> object:
        return endlessly(event)


SAME = RecursionError("the same object each time")


def raise_same(event: object) -> None:
    raise SAME


CALLABLE = Endless()
DEEP = nested(100_000)
LISTENERS: dict[str, Callable[[Any], object]] = {
    "function": endlessly,
    "calls": in_pieces,
    "json": lambda event: json.loads("[" * 100_000),
    "pickle": lambda event: pickle.dumps(DEEP),
    "repr": lambda event: repr(DEEP),
    "copy": lambda event: copy.deepcopy(DEEP),
    "partial": functools.partial(endlessly),
    "callable": CALLABLE,
    "method": CALLABLE.method,
    "same": raise_same,
    "attribute": lambda event: Opened().endless,
}
EMITS: dict[str, Emit] = {
    "emit": lambda manager, event: manager.emit(event),
    "deliver": lambda manager, event: manager.deliver(event),
    "emit_async": lambda manager, event: asyncio.run(manager.emit_async(event)),
    "worker": lambda manager, event: manager.emit(event, block=False).join(),  # type: ignore[union-attr]  # a handle
}


@pytest.mark.parametrize("kind", [Opened, Hooked])
@pytest.mark.parametrize("emit", EMITS.values(), ids=EMITS)
@pytest.mark.parametrize("listener", LISTENERS.values(), ids=LISTENERS)
def test_recursion_error_of_a_listener_is_isolated(
    manager: EventManager, listener: Callable[[Any], object], emit: Emit, kind: type[Opened]
) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, listener)
    manager.connect(Opened, received.append)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        for _ in range(2):
            emit(manager, kind())

    assert [event.error.__class__ for event in recorder.of(ListenerErrorEvent)] == [RecursionError] * 2
    assert [event.listener for event in recorder.of(ListenerErrorEvent)] == [listener] * 2
    assert len(received) == 2


@pytest.mark.parametrize("listener", LISTENERS.values(), ids=LISTENERS)
def test_recursion_error_in_a_nested_emit_is_isolated_there(
    manager: EventManager, listener: Callable[[Any], object]
) -> None:
    received: list[BaseEvent] = []
    for cls in (Opened, Closed):
        manager.connect(cls, functools.partial(listener))  # one function in two listeners
        manager.connect(cls, received.append)
    manager.connect(Opened, lambda event: manager.emit(Closed()), priority=1)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert [type(event.event) for event in recorder.of(ListenerErrorEvent)] == [Closed, Opened]
    assert [type(event) for event in received] == [Closed, Opened]


@pytest.mark.parametrize(
    "condition",
    [
        {"filter": {"endless": 1}},
        {"filter": {"endless": 1}, "where": bool},
        {"where": endlessly},
        {"filter": {"endless": []}},
    ],
    ids=["filter", "both", "where", "unhashable"],
)
def test_recursion_error_in_filter_or_predicate_is_no_match(manager: EventManager, condition: dict[str, Any]) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, print, **condition)
    manager.connect(Opened, received.append)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert recorder.one(ListenerErrorEvent).listener is print
    assert len(received) == 1


def test_recursion_error_in_on_error_is_isolated(caplog: pytest.LogCaptureFixture) -> None:
    def on_error(event: BaseEvent, listener: object, error: Exception) -> None:
        endlessly(event)

    manager = EventManager(on_error=on_error)
    manager.connect(Opened, lambda event: 1 / 0)

    manager.emit(Opened())

    assert [record.getMessage().split()[0] for record in caplog.records] == ["listener", "on_error"]


def test_recursion_error_of_the_tracer_is_isolated(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)
    manager.set_trace(lambda name, method, args: endlessly(name))

    manager.emit(Opened())

    assert len(received) == 1


def test_recursion_error_of_a_scheduled_listener_is_reported(manager: EventManager) -> None:
    async def recurse(event: BaseEvent) -> None:
        endlessly(event)

    async def main() -> None:
        manager.emit(Opened())
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    manager.connect(Opened, recurse)
    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        asyncio.run(main())

    assert recorder.one(ListenerErrorEvent).listener is recurse


@pytest.mark.parametrize("emit", list(EMITS.values())[:3], ids=list(EMITS)[:3])
@pytest.mark.parametrize("kind", [Opened, Hooked])
def test_mutually_emitting_listeners_raise_recursion_error(
    manager: EventManager, kind: type[Opened], emit: Emit
) -> None:
    manager.connect(Opened, lambda event: manager.emit(Closed()))
    manager.connect(Closed, lambda event: manager.emit(kind()))

    with pytest.raises(RecursionError):
        emit(manager, kind())


@pytest.mark.parametrize("again", ["emit", "deliver"])
def test_listener_that_emits_its_own_event_calls_no_other_listener_endlessly(manager: EventManager, again: str) -> None:
    calls: list[BaseEvent] = []

    def loop(event: BaseEvent) -> None:
        calls.append(event)
        for _ in range(3):  # each level would go on three times
            getattr(manager, again)(Opened())

    manager.connect(Opened, loop)

    with pytest.raises(RecursionError):
        manager.emit(Opened())
    assert len(calls) < sys.getrecursionlimit()


def test_endless_predicate_that_emits_raises_recursion_error(manager: EventManager) -> None:
    manager.connect(Opened, print, where=lambda event: manager.emit(Opened()))

    with pytest.raises(RecursionError):
        manager.emit(Opened())


def test_two_managers_that_relay_to_each_other_raise_recursion_error(manager: EventManager) -> None:
    other = EventManager()
    manager.connect(Opened, other.emit, weak=False)
    other.connect(Opened, manager.emit, weak=False)

    with pytest.raises(RecursionError):
        manager.emit(Opened())
