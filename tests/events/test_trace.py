"""A tracer hears of everything before it happens, and may say no."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder

Traced = list[tuple[str, Callable[..., object], tuple[Any, ...]]]


class Opened(BaseEvent):
    pass


class Box:
    def __init__(self) -> None:
        self.heard: list[BaseEvent] = []

    def hear(self, event: BaseEvent) -> None:
        self.heard.append(event)


class Tracer:
    def __init__(self, *vetoed: str) -> None:
        self.vetoed = vetoed
        self.traced: Traced = []

    def __call__(self, name: str, method: Callable[..., object], args: tuple[Any, ...]) -> bool:
        self.traced.append((name, method, args))
        return name in self.vetoed

    def names(self) -> list[str]:
        return [name for name, _, _ in self.traced]


async def listen(event: BaseEvent) -> None: ...


def test_a_tracer_hears_what_is_about_to_be_called(manager: EventManager) -> None:
    box, tracer, event = Box(), Tracer(), Opened()
    manager.set_trace(tracer)

    manager.connect(Opened, box.hear, {"source": None}, 2)
    manager.emit(event)
    manager.disconnect(Opened, box.hear)

    assert tracer.traced == [
        ("connect", manager.connect, (Opened, box.hear, {"source": None}, 2)),
        ("emit", manager.emit, (event,)),
        ("listen", box.hear, (event,)),
        ("disconnect", manager.disconnect, (Opened, box.hear)),
    ]
    assert box.heard == [event]


def test_a_tracer_hears_of_awaiting_emits(manager: EventManager) -> None:
    tracer, event = Tracer(), Opened()
    manager.connect(Opened, listen)
    manager.set_trace(tracer)

    asyncio.run(manager.emit_async(event))

    assert tracer.traced == [("emit", manager.emit_async, (event,)), ("listen", listen, (event,))]


def test_a_tracer_hears_of_emits_that_the_worker_makes(manager: EventManager) -> None:
    box, tracer = Box(), Tracer()
    manager.connect(Opened, box.hear)
    manager.set_trace(tracer)

    handle = manager.emit(Opened(), block=False)

    assert handle is not None
    assert handle.join(10)
    assert tracer.names() == ["emit", "listen"]


def test_a_vetoed_connect_gives_an_inert_subscription(manager: EventManager) -> None:
    box = Box()
    manager.set_trace(Tracer("connect"))

    with manager.connect(Opened, box.hear) as subscription:
        manager.emit(Opened())
        assert subscription.cls is Opened

    assert box.heard == []
    with pytest.raises(KeyError):
        manager.disconnect(Opened, box.hear)


def test_a_vetoed_disconnect_leaves_the_listener_connected(manager: EventManager) -> None:
    box = Box()
    subscription = manager.connect(Opened, box.hear)
    manager.set_trace(Tracer("disconnect"))

    manager.disconnect(Opened, box.hear)
    subscription.disconnect()
    manager.emit(Opened())
    assert len(box.heard) == 1

    manager.set_trace(None)
    subscription.disconnect()
    manager.emit(Opened())
    assert len(box.heard) == 1


def test_a_subscription_that_has_ended_is_traced_no_more(manager: EventManager) -> None:
    box, tracer = Box(), Tracer()
    manager.set_trace(tracer)

    with manager.connect(Opened, box.hear) as subscription:
        pass
    subscription.disconnect()

    assert tracer.names() == ["connect", "disconnect"]


def test_a_vetoed_emit_reaches_nobody(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.hear)
    manager.set_trace(Tracer("emit"))

    manager.emit(Opened())
    asyncio.run(manager.emit_async(Opened()))

    assert box.heard == []


def test_a_vetoed_call_spares_that_listener_alone(manager: EventManager) -> None:
    box, other = Box(), Box()
    manager.connect(Opened, box.hear)
    manager.connect(Opened, other.hear)
    manager.set_trace(lambda name, method, args: method == box.hear)

    manager.emit(Opened())

    assert (len(box.heard), len(other.heard)) == (0, 1)


def test_a_listener_that_dies_during_the_emit_is_not_traced(manager: EventManager) -> None:
    boxes, tracer = [Box()], Tracer()
    manager.connect(Opened, lambda event: boxes.clear())
    manager.connect(Opened, boxes[0].hear)
    manager.set_trace(tracer)

    manager.emit(Opened())

    assert tracer.names() == ["emit", "listen"]


def test_an_event_that_is_traced_is_worth_building(manager: EventManager) -> None:
    manager.set_trace(Tracer())
    assert manager.has_listeners(Opened)

    manager.set_trace(None)
    assert not manager.has_listeners(Opened)


def test_without_a_tracer_all_is_as_before(manager: EventManager) -> None:
    box, tracer = Box(), Tracer("connect", "emit", "listen")
    manager.set_trace(tracer)
    manager.set_trace(None)

    manager.connect(Opened, box.hear)
    manager.emit(Opened())

    assert len(box.heard) == 1
    assert tracer.traced == []


def test_a_tracer_that_fails_is_logged_and_vetoes_nothing(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    def trace(name: str, method: object, args: tuple[Any, ...]) -> bool:
        raise OSError(name)

    box = Box()
    manager.set_trace(trace)

    manager.connect(Opened, box.hear)
    manager.emit(Opened())

    assert len(box.heard) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"tracer {trace!r} failed at {name!r}" for name in ("connect", "emit", "listen")
    ]


def test_a_tracer_that_emits_for_ever_ends_in_a_recursion_error(manager: EventManager) -> None:
    manager.set_trace(lambda name, method, args: manager.emit(Opened()))

    with pytest.raises(RecursionError):
        manager.emit(Opened())


def test_a_failing_listener_is_told_as_it_was_connected_though_traced(manager: EventManager) -> None:
    def fail(event: BaseEvent) -> None:
        raise OSError

    manager.connect(Opened, fail)
    manager.set_trace(Tracer())

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert recorder.one(ListenerErrorEvent).listener is fail
