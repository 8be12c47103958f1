"""Coroutine listeners: awaited by emit_async, scheduled by emit."""

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
    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    async def hear(self, event: BaseEvent) -> None:
        await asyncio.sleep(0)
        self.heard.append("method")


class Judge:
    def __init__(self, *_: object) -> None: ...

    async def __call__(self, event: BaseEvent) -> None:
        await asyncio.sleep(0)
        heard.append("object")


heard: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    heard.clear()


async def listen(event: BaseEvent) -> None:
    await asyncio.sleep(0)
    heard.append("function")


async def listen_with(extra: str, event: BaseEvent) -> None:
    await asyncio.sleep(0)
    heard.append(extra)


async def fail(event: BaseEvent) -> None:
    await asyncio.sleep(0)
    raise OSError("fail")


BOX = Box(heard)
COROUTINE_LISTENERS = [
    (listen, "function"),
    (BOX.hear, "method"),
    (Judge(), "object"),
    (functools.partial(listen_with, "partial"), "partial"),
    (functools.partial(functools.partial(listen_with), "twice partial"), "twice partial"),
    (functools.partial(Judge()), "object"),
]
NAMES = ["function", "method", "object", "partial", "nested partial", "partial of an object"]


async def settle() -> None:
    """Let all other tasks run to their ends."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize(("listener", "name"), COROUTINE_LISTENERS, ids=NAMES)
def test_emit_async_awaits_whatever_gives_a_coroutine(
    manager: EventManager, listener: Callable[..., object], name: str
) -> None:
    manager.connect(Opened, listener)

    asyncio.run(manager.emit_async(Opened()))

    assert heard == [name]


@pytest.mark.parametrize(("listener", "name"), COROUTINE_LISTENERS, ids=NAMES)
def test_emit_schedules_whatever_gives_a_coroutine(
    manager: EventManager, listener: Callable[..., object], name: str
) -> None:
    manager.connect(Opened, listener)

    async def main() -> None:
        manager.emit(Opened())
        assert heard == []
        await settle()

    asyncio.run(main())
    assert heard == [name]


def test_what_is_scheduled_is_held_though_nobody_else_does(manager: EventManager) -> None:
    futures: weakref.WeakSet[asyncio.Future[None]] = weakref.WeakSet()

    async def wait(event: BaseEvent) -> None:
        future = asyncio.get_running_loop().create_future()
        futures.add(future)
        await future
        heard.append("waited")

    manager.connect(Opened, wait)

    async def main() -> None:
        manager.emit(Opened())
        await asyncio.sleep(0)
        gc.collect()
        for future in list(futures):
            future.set_result(None)
        await settle()

    asyncio.run(main())
    assert heard == ["waited"]


def test_a_class_whose_objects_are_coroutine_listeners_is_none_itself(manager: EventManager) -> None:
    manager.connect(Opened, Judge)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())
        asyncio.run(manager.emit_async(Opened()))

    assert recorder.events == []


def test_emit_async_awaits_one_after_the_other_in_order(manager: EventManager) -> None:
    manager.connect(Opened, functools.partial(listen_with, "second"))
    manager.connect(Opened, lambda event: heard.append("third"))
    manager.connect(Opened, functools.partial(listen_with, "first"), priority=1)

    asyncio.run(manager.emit_async(Opened()))

    assert heard == ["first", "second", "third"]


def test_an_awaited_listener_can_veto(manager: EventManager) -> None:
    async def handle(event: BaseEvent) -> None:
        await asyncio.sleep(0)
        event.mark_as_handled()

    manager.connect(Opened, handle)
    manager.connect(Opened, listen)

    asyncio.run(manager.emit_async(Opened()))

    assert heard == []


def test_a_scheduled_listener_cannot(manager: EventManager) -> None:
    async def handle(event: BaseEvent) -> None:
        event.mark_as_handled()

    manager.connect(Opened, handle)
    manager.connect(Opened, lambda event: heard.append("plain"))

    async def main() -> None:
        manager.emit(Opened())
        await settle()

    asyncio.run(main())
    assert heard == ["plain"]


def test_a_filter_holds_for_coroutine_listeners_too(manager: EventManager) -> None:
    manager.connect(Opened, listen, {"colour": "red"})

    async def main() -> None:
        for colour in ("red", "blue"):
            manager.emit(Opened(colour=colour))
            await manager.emit_async(Opened(colour=colour))
        await settle()

    asyncio.run(main())
    assert len(heard) == 2


def test_where_no_loop_runs_a_coroutine_listener_is_reported(manager: EventManager) -> None:
    manager.connect(Opened, listen)
    manager.connect(Opened, lambda event: heard.append("plain"))

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    error = recorder.one(ListenerErrorEvent).error
    assert isinstance(error, NoRunningLoopError)
    assert error.listener is listen
    assert heard == ["plain"]


def test_errors_are_isolated_whether_awaited_or_scheduled(manager: EventManager) -> None:
    manager.connect(Opened, fail)
    manager.connect(Opened, listen)

    async def main() -> None:
        await manager.emit_async(Opened())
        manager.emit(Opened())
        await settle()

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        asyncio.run(main())

    assert [event.listener for event in recorder.of(ListenerErrorEvent)] == [fail, fail]
    assert heard == ["function", "function"]


def test_a_strict_manager_raises_what_was_awaited() -> None:
    manager = EventManager(strict=True)
    manager.connect(Opened, fail)
    manager.connect(Opened, listen)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(manager.emit_async(Opened()))

    assert str(caught.value.exceptions[0]) == "fail"
    assert heard == ["function"]


@pytest.mark.parametrize("error", [asyncio.CancelledError, RecursionError])
def test_cancellation_and_recursion_go_through_an_awaiting_emit(
    manager: EventManager, error: type[BaseException]
) -> None:
    async def give_up(event: BaseEvent) -> None:
        raise error

    manager.connect(Opened, give_up)
    manager.connect(Opened, listen)
    event = Hooked()

    with pytest.raises(error):
        asyncio.run(manager.emit_async(event))

    assert heard == []
    assert event.diary == ["pre", "post"]


def test_cancelling_who_emits_cancels_the_listener_that_is_awaited(manager: EventManager) -> None:
    async def wait(event: BaseEvent) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
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
    assert heard == ["cancelled"]


def test_a_scheduled_listener_that_never_ends_calling_itself_is_the_loops_to_tell(manager: EventManager) -> None:
    async def recurse(event: BaseEvent) -> None:
        raise RecursionError("too deep")

    told: list[Any] = []
    manager.connect(Opened, recurse)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        manager.emit(Opened())
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        gc.collect()

    asyncio.run(main())
    assert [str(error) for error in told] == ["too deep"]


def test_an_object_that_dies_after_the_emit_still_hears_what_was_scheduled(manager: EventManager) -> None:
    boxes = [Box(heard)]
    manager.connect(Opened, boxes[0].hear)

    async def main() -> None:
        manager.emit(Opened())
        boxes.clear()
        gc.collect()
        await settle()

    asyncio.run(main())
    assert heard == ["method"]


@pytest.mark.parametrize("is_awaited", [True, False])
def test_an_object_that_dies_during_the_emit_does_not_hear_it(manager: EventManager, *, is_awaited: bool) -> None:
    boxes = [Box(heard)]
    manager.connect(Opened, lambda event: boxes.clear())
    manager.connect(Opened, boxes[0].hear)

    async def main() -> None:
        if is_awaited:
            await manager.emit_async(Opened())
        else:
            manager.emit(Opened())
        await settle()

    asyncio.run(main())
    assert heard == []


def test_the_hooks_of_an_event_run_around_what_is_awaited(manager: EventManager) -> None:
    async def write(event: Any) -> None:
        await asyncio.sleep(0)
        event.diary.append("listener")

    manager.connect(Hooked, write)
    event = Hooked()

    asyncio.run(manager.emit_async(event))

    assert event.diary == ["pre", "listener", "post"]


def test_an_event_that_is_disabled_is_not_awaited(manager: EventManager) -> None:
    manager.connect(Opened, listen)

    with manager.disabled(BaseEvent):
        asyncio.run(manager.emit_async(Opened()))

    assert heard == []


def test_an_awaiting_emit_is_held_as_any_other(manager: EventManager) -> None:
    manager.connect(Opened, listen)

    async def main() -> None:
        with manager.hold(Opened) as held:
            await manager.emit_async(Opened())
            assert heard == []
            held.release()
        await settle()

    asyncio.run(main())
    assert heard == ["function"]
