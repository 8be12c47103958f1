"""Closing an event manager."""

import _thread
import asyncio
import threading

import pytest

from encore_events import BaseEvent, EventManager, EventsDroppedEvent, ManagerClosedError
from encore_events.testing import EventRecorder


class Opened(BaseEvent):
    pass


class Hooked(Opened):
    finished = False

    def post_emit(self) -> None:
        self.finished = True


def test_close_flushes_queued_events() -> None:
    manager = EventManager()
    recorder = EventRecorder(manager, Opened)
    for number in range(100):
        manager.emit(Opened(number=number), block=False)

    manager.close()

    assert len(recorder.events) == 100


def test_close_disconnects_listeners() -> None:
    manager = EventManager()
    subscription = manager.connect(Opened, print)

    manager.close()
    subscription.disconnect()

    assert manager.get_listeners(Opened) == []
    assert not manager.has_listeners(Opened)


@pytest.mark.parametrize("has_worker", [True, False])
def test_emit_after_close_does_nothing(*, has_worker: bool) -> None:
    manager = EventManager()
    recorder = EventRecorder(manager)
    event = Hooked()
    manager.emit(Hooked(), block=not has_worker)

    manager.close()
    before = _thread._count()
    manager.emit(event)
    asyncio.run(manager.emit_async(event))
    handle = manager.emit(event, block=False)

    assert handle is not None
    assert handle.done()
    assert not event.finished
    assert len(recorder.events) == 1
    assert _thread._count() <= before


def test_connect_after_close_raises() -> None:
    manager = EventManager()
    manager.close()

    with pytest.raises(ManagerClosedError, match="<EventManager: 0 listeners, closed> is closed") as caught:
        manager.connect(Opened, print)

    assert caught.value.manager is manager


def test_close_twice_does_nothing() -> None:
    manager = EventManager()
    manager.emit(Opened(), block=False)

    manager.close()
    manager.close()

    assert repr(manager) == "<EventManager: 0 listeners, closed>"


def test_close_reports_events_not_flushed_in_time(caplog: pytest.LogCaptureFixture) -> None:
    blocked, running = threading.Event(), threading.Event()
    manager = EventManager()
    recorder = EventRecorder(manager, EventsDroppedEvent)
    received: list[BaseEvent] = []

    def block(event: BaseEvent) -> None:
        received.append(event)
        running.set()
        blocked.wait(10)

    manager.connect(Opened, block)
    handles = [manager.emit(Opened(), block=False) for _ in range(3)]
    assert running.wait(10)

    manager.close(timeout=0.01)
    blocked.set()

    dropped = recorder.one(EventsDroppedEvent)
    assert (dropped.source, dropped.queue, dropped.reason, dropped.count) == (manager, "worker", "close", 2)
    assert [record.getMessage() for record in caplog.records] == ["the worker dropped 2 events at close"]
    assert all(handle is not None and handle.join(10) for handle in handles)
    assert len(received) == 1


def test_listener_on_the_worker_can_close_the_manager() -> None:
    manager = EventManager()
    recorder = EventRecorder(manager, Opened)
    blocked = threading.Event()

    def close(event: BaseEvent) -> None:
        blocked.wait(10)
        manager.close()

    manager.connect(Opened, close, {"number": 0})
    handles = [manager.emit(Opened(number=number), block=False) for number in range(3)]
    blocked.set()

    assert all(handle is not None and handle.join(10) for handle in handles)
    assert len(recorder.events) == 3
