"""Coroutine listeners, awaited by emit_async and scheduled by emit."""

import asyncio
import functools
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, ListenerErrorEvent, NoRunningLoopError
from encore_events.testing import EventRecorder


class Opened(BaseEvent):
    pass


class Hooked(Opened):
    diary: list[str]

    def pre_emit(self) -> None:
        self.diary = ["pre"]

    def post_emit(self) -> None:
        self.diary.append("post")


class Box:
    def __init__(self, received: list[str]) -> None:
        self.received = received

    async def receive(self, event: BaseEvent) -> None:
        await asyncio.sleep(0)
        self.received.append("method")


class CallableObject:
    def __init__(self, *_: object) -> None: ...

    async def __call__(self, event: BaseEvent) -> None:
        await asyncio.sleep(0)
        received.append("object")


received: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_received() -> None:
    received.clear()


async def listen(event: BaseEvent) -> None:
    await asyncio.sleep(0)
    received.append("function")


async def listen_with(extra: str, event: BaseEvent) -> None:
    await asyncio.sleep(0)
    received.append(extra)


async def fail(event: BaseEvent) -> None:
    await asyncio.sleep(0)
    raise OSError("fail")


BOX = Box(received)
COROUTINE_LISTENERS = [
    (listen, "function"),
    (BOX.receive, "method"),
    (CallableObject(), "object"),
    (functools.partial(listen_with, "partial"), "partial"),
    (functools.partial(functools.partial(listen_with), "twice partial"), "twice partial"),
    (functools.partial(CallableObject()), "object"),
]
NAMES = ["function", "method", "object", "partial", "nested partial", "partial of an object"]


async def settle() -> None:
    """Wait for all other tasks."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize(("listener", "name"), COROUTINE_LISTENERS, ids=NAMES)
def test_emit_async_awaits_coroutine_listeners(
    manager: EventManager, listener: Callable[..., object], name: str
) -> None:
    manager.connect(Opened, listener)

    asyncio.run(manager.emit_async(Opened()))

    assert received == [name]


@pytest.mark.parametrize(("listener", "name"), COROUTINE_LISTENERS, ids=NAMES)
def test_emit_schedules_coroutine_listeners(manager: EventManager, listener: Callable[..., object], name: str) -> None:
    manager.connect(Opened, listener)

    async def main() -> None:
        manager.emit(Opened())
        assert received == []
        await settle()

    asyncio.run(main())
    assert received == [name]


def test_scheduled_task_is_held_strongly(manager: EventManager) -> None:
    futures: weakref.WeakSet[asyncio.Future[None]] = weakref.WeakSet()

    async def wait(event: BaseEvent) -> None:
        future = asyncio.get_running_loop().create_future()
        futures.add(future)
        await future
        received.append("waited")

    manager.connect(Opened, wait)

    async def main() -> None:
        manager.emit(Opened())
        await asyncio.sleep(0)
        gc.collect()
        for future in list(futures):
            future.set_result(None)
        await settle()

    asyncio.run(main())
    assert received == ["waited"]


def test_class_with_async_call_is_no_coroutine_listener(manager: EventManager) -> None:
    manager.connect(Opened, CallableObject)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())
        asyncio.run(manager.emit_async(Opened()))

    assert recorder.events == []


def test_emit_async_awaits_listeners_in_order(manager: EventManager) -> None:
    manager.connect(Opened, functools.partial(listen_with, "second"))
    manager.connect(Opened, lambda event: received.append("third"))
    manager.connect(Opened, functools.partial(listen_with, "first"), priority=1)

    asyncio.run(manager.emit_async(Opened()))

    assert received == ["first", "second", "third"]


def test_awaited_listener_can_veto(manager: EventManager) -> None:
    async def handle(event: BaseEvent) -> None:
        await asyncio.sleep(0)
        event.mark_as_handled()

    manager.connect(Opened, handle)
    manager.connect(Opened, listen)

    asyncio.run(manager.emit_async(Opened()))

    assert received == []


def test_scheduled_listener_cannot_veto(manager: EventManager) -> None:
    async def handle(event: BaseEvent) -> None:
        event.mark_as_handled()

    manager.connect(Opened, handle)
    manager.connect(Opened, lambda event: received.append("plain"))

    async def main() -> None:
        manager.emit(Opened())
        await settle()

    asyncio.run(main())
    assert received == ["plain"]


def test_filter_applies_to_coroutine_listeners(manager: EventManager) -> None:
    manager.connect(Opened, listen, {"colour": "red"})

    async def main() -> None:
        for colour in ("red", "blue"):
            manager.emit(Opened(colour=colour))
            await manager.emit_async(Opened(colour=colour))
        await settle()

    asyncio.run(main())
    assert len(received) == 2


def test_coroutine_listener_without_running_loop_is_reported(manager: EventManager) -> None:
    manager.connect(Opened, listen)
    manager.connect(Opened, lambda event: received.append("plain"))

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    error = recorder.one(ListenerErrorEvent).error
    assert isinstance(error, NoRunningLoopError)
    assert error.listener is listen
    assert received == ["plain"]


def test_errors_of_coroutine_listeners_are_isolated(manager: EventManager) -> None:
    manager.connect(Opened, fail)
    manager.connect(Opened, listen)

    async def main() -> None:
        await manager.emit_async(Opened())
        manager.emit(Opened())
        await settle()

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        asyncio.run(main())

    assert [event.listener for event in recorder.of(ListenerErrorEvent)] == [fail, fail]
    assert received == ["function", "function"]


def test_strict_manager_raises_errors_of_awaited_listeners() -> None:
    manager = EventManager(strict=True)
    manager.connect(Opened, fail)
    manager.connect(Opened, listen)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(manager.emit_async(Opened()))

    assert str(caught.value.exceptions[0]) == "fail"
    assert received == ["function"]


def test_emit_async_propagates_cancellation(manager: EventManager) -> None:
    async def give_up(event: BaseEvent) -> None:
        raise asyncio.CancelledError

    manager.connect(Opened, give_up)
    manager.connect(Opened, listen)
    event = Hooked()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(manager.emit_async(event))

    assert received == []
    assert event.diary == ["pre", "post"]


def test_cancelling_emit_async_cancels_the_awaited_listener(manager: EventManager) -> None:
    async def wait(event: BaseEvent) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            received.append("cancelled")
            raise

    manager.connect(Opened, wait)
    manager.connect(Opened, listen)

    async def main() -> None:
        task = asyncio.create_task(manager.emit_async(Opened()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert received == ["cancelled"]


def test_recursion_of_scheduled_listener_reaches_the_loop(manager: EventManager) -> None:
    async def recurse(event: BaseEvent) -> None:
        manager.emit(BaseEvent())

    reported: list[Any] = []
    manager.connect(Opened, recurse)
    manager.connect(BaseEvent, lambda event: manager.emit(BaseEvent()), where=lambda event: type(event) is BaseEvent)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
        manager.emit(Opened())
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        gc.collect()

    asyncio.run(main())
    assert [type(error) for error in reported] == [RecursionError]


def test_object_collected_after_emit_still_runs_its_scheduled_listener(manager: EventManager) -> None:
    boxes = [Box(received)]
    manager.connect(Opened, boxes[0].receive)

    async def main() -> None:
        manager.emit(Opened())
        boxes.clear()
        gc.collect()
        await settle()

    asyncio.run(main())
    assert received == ["method"]


@pytest.mark.parametrize("is_awaited", [True, False])
def test_object_collected_during_emit_is_not_called(manager: EventManager, *, is_awaited: bool) -> None:
    boxes = [Box(received)]
    manager.connect(Opened, lambda event: boxes.clear())
    manager.connect(Opened, boxes[0].receive)

    async def main() -> None:
        if is_awaited:
            await manager.emit_async(Opened())
        else:
            manager.emit(Opened())
        await settle()

    asyncio.run(main())
    assert received == []


def test_hooks_run_around_awaited_listeners(manager: EventManager) -> None:
    async def write(event: Any) -> None:
        await asyncio.sleep(0)
        event.diary.append("listener")

    manager.connect(Hooked, write)
    event = Hooked()

    asyncio.run(manager.emit_async(event))

    assert event.diary == ["pre", "listener", "post"]


def test_emit_async_of_disabled_event_does_nothing(manager: EventManager) -> None:
    manager.connect(Opened, listen)

    with manager.disabled(BaseEvent):
        asyncio.run(manager.emit_async(Opened()))

    assert received == []


def test_emit_async_event_is_held(manager: EventManager) -> None:
    manager.connect(Opened, listen)

    async def main() -> None:
        with manager.hold(Opened) as held:
            await manager.emit_async(Opened())
            assert received == []
            held.release()
        await settle()

    asyncio.run(main())
    assert received == ["function"]
