"""Tracers and their vetoes."""

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
        self.received: list[BaseEvent] = []

    def receive(self, event: BaseEvent) -> None:
        self.received.append(event)


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


def test_tracer_is_called_before_each_call(manager: EventManager) -> None:
    box, tracer, event = Box(), Tracer(), Opened()
    manager.set_trace(tracer)

    manager.connect(Opened, box.receive, {"source": None}, 2)
    manager.emit(event)
    manager.disconnect(Opened, box.receive)

    assert tracer.traced == [
        ("connect", manager.connect, (Opened, box.receive, {"source": None}, 2)),
        ("emit", manager.emit, (event,)),
        ("listen", box.receive, (event,)),
        ("disconnect", manager.disconnect, (Opened, box.receive)),
    ]
    assert box.received == [event]


def test_tracer_is_called_for_emit_async(manager: EventManager) -> None:
    tracer, event = Tracer(), Opened()
    manager.connect(Opened, listen)
    manager.set_trace(tracer)

    asyncio.run(manager.emit_async(event))

    assert tracer.traced == [("emit", manager.emit_async, (event,)), ("listen", listen, (event,))]


def test_tracer_is_called_for_emits_on_the_worker(manager: EventManager) -> None:
    box, tracer = Box(), Tracer()
    manager.connect(Opened, box.receive)
    manager.set_trace(tracer)

    handle = manager.emit(Opened(), block=False)

    assert handle is not None
    assert handle.join(10)
    assert tracer.names() == ["emit", "listen"]


def test_vetoed_connect_returns_an_inert_subscription(manager: EventManager) -> None:
    box = Box()
    manager.set_trace(Tracer("connect"))

    with manager.connect(Opened, box.receive) as subscription:
        manager.emit(Opened())
        assert subscription.cls is Opened

    assert box.received == []
    with pytest.raises(KeyError):
        manager.disconnect(Opened, box.receive)


def test_vetoed_disconnect_keeps_the_listener_connected(manager: EventManager) -> None:
    box = Box()
    subscription = manager.connect(Opened, box.receive)
    manager.set_trace(Tracer("disconnect"))

    manager.disconnect(Opened, box.receive)
    subscription.disconnect()
    manager.emit(Opened())
    assert len(box.received) == 1

    manager.set_trace(None)
    subscription.disconnect()
    manager.emit(Opened())
    assert len(box.received) == 1


def test_ended_subscription_is_not_traced(manager: EventManager) -> None:
    box, tracer = Box(), Tracer()
    manager.set_trace(tracer)

    with manager.connect(Opened, box.receive) as subscription:
        pass
    subscription.disconnect()

    assert tracer.names() == ["connect", "disconnect"]


def test_vetoed_emit_reaches_no_listener(manager: EventManager) -> None:
    box = Box()
    manager.connect(Opened, box.receive)
    manager.set_trace(Tracer("emit"))

    manager.emit(Opened())
    asyncio.run(manager.emit_async(Opened()))

    assert box.received == []


def test_vetoed_listen_skips_that_listener_only(manager: EventManager) -> None:
    box, other = Box(), Box()
    manager.connect(Opened, box.receive)
    manager.connect(Opened, other.receive)
    manager.set_trace(lambda name, method, args: method == box.receive)

    manager.emit(Opened())

    assert (len(box.received), len(other.received)) == (0, 1)


def test_listener_collected_during_emit_is_not_traced(manager: EventManager) -> None:
    boxes, tracer = [Box()], Tracer()
    manager.connect(Opened, lambda event: boxes.clear())
    manager.connect(Opened, boxes[0].receive)
    manager.set_trace(tracer)

    manager.emit(Opened())

    assert tracer.names() == ["emit", "listen"]


def test_has_listeners_is_true_with_a_tracer(manager: EventManager) -> None:
    manager.set_trace(Tracer())
    assert manager.has_listeners(Opened)

    manager.set_trace(None)
    assert not manager.has_listeners(Opened)


def test_removed_tracer_is_not_called(manager: EventManager) -> None:
    box, tracer = Box(), Tracer("connect", "emit", "listen")
    manager.set_trace(tracer)
    manager.set_trace(None)

    manager.connect(Opened, box.receive)
    manager.emit(Opened())

    assert len(box.received) == 1
    assert tracer.traced == []


def test_failing_tracer_is_logged_and_vetoes_nothing(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    def trace(name: str, method: object, args: tuple[Any, ...]) -> bool:
        raise OSError(name)

    box = Box()
    manager.set_trace(trace)

    manager.connect(Opened, box.receive)
    manager.emit(Opened())

    assert len(box.received) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"tracer {trace!r} failed at {name!r}" for name in ("connect", "emit", "listen")
    ]


def test_endlessly_emitting_tracer_raises_recursion_error(manager: EventManager) -> None:
    manager.set_trace(lambda name, method, args: manager.emit(Opened()))

    with pytest.raises(RecursionError):
        manager.emit(Opened())


def test_traced_failing_listener_is_reported_as_connected(manager: EventManager) -> None:
    def fail(event: BaseEvent) -> None:
        raise OSError

    manager.connect(Opened, fail)
    manager.set_trace(Tracer())

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert recorder.one(ListenerErrorEvent).listener is fail
