"""What a listener raises: who is told, who is spared, and what goes through."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder


class Opened(BaseEvent):
    @property
    def broken(self) -> int:
        raise OSError("broken")

    @property
    def endless(self) -> int:
        raise RecursionError("endless")


class Closed(BaseEvent):
    pass


class Hooked(Opened):
    finished = False

    def post_emit(self) -> None:
        self.finished = True


class Interruption(BaseException):
    pass


def raising(error: BaseException) -> Callable[[Any], None]:
    def fail(event: BaseEvent) -> None:
        raise error

    return fail


def fail(event: BaseEvent) -> None:
    raise OSError("fail")


def test_an_error_reaches_neither_the_emitter_nor_another_listener(manager: EventManager) -> None:
    heard: list[BaseEvent] = []
    manager.connect(Opened, fail)
    manager.connect(Opened, heard.append)

    manager.emit(Opened())

    assert len(heard) == 1


def test_so_it_is_for_events_with_hooks(manager: EventManager) -> None:
    heard: list[BaseEvent] = []
    manager.connect(Opened, fail)
    manager.connect(Opened, heard.append)
    event = Hooked()

    manager.emit(event)

    assert heard == [event]
    assert event.finished


def test_an_error_is_logged(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    manager.connect(Opened, fail)

    manager.emit(Opened(size=1))

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("encore_events", "ERROR")
    assert record.getMessage() == f"listener {fail!r} failed for Opened(size=1)"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


def test_an_error_is_told_to_the_hook() -> None:
    told: list[tuple[BaseEvent, object, Exception]] = []
    manager = EventManager(on_error=lambda *what: told.append(what))
    manager.connect(Opened, fail)
    event = Opened()

    manager.emit(event)

    ((which, listener, error),) = told
    assert which is event
    assert listener is fail
    assert isinstance(error, OSError)


def test_an_error_is_told_as_an_event(manager: EventManager) -> None:
    manager.connect(Opened, fail)
    event = Opened()

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(event)

    told = recorder.one(ListenerErrorEvent)
    assert (told.source, told.event, told.listener, str(told.error)) == (manager, event, fail, "fail")


def test_each_of_several_failing_listeners_is_told(manager: EventManager) -> None:
    fails = [raising(OSError("1")), raising(ValueError("2")), raising(KeyError("3"))]
    for func in fails:
        manager.connect(Opened, func)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert [event.listener for event in recorder.of(ListenerErrorEvent)] == fails


def test_the_failure_of_who_hears_of_failures_is_only_logged(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager.connect(ListenerErrorEvent, fail)
    manager.connect(BaseEvent, fail, priority=1)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert len(recorder.events) == 1
    assert len(caplog.records) == 3


def test_trouble_that_comes_of_telling_trouble_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseEvent] = []

    def tell(event: BaseEvent, listener: object, error: Exception) -> None:
        told.append(event)
        manager.emit(Closed())

    manager = EventManager(on_error=tell)
    manager.connect(BaseEvent, fail)

    manager.emit(Opened())
    manager.emit(Opened())

    assert [type(event) for event in told] == [Opened, Opened]
    assert len(caplog.records) == 6


def test_what_is_left_to_the_worker_meanwhile_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    managers = EventManager(), EventManager()
    told: list[BaseEvent] = []

    def hear(event: ListenerErrorEvent) -> None:
        told.append(event)
        for manager in managers:
            manager.emit(Opened(), block=False)

    for manager in managers:
        manager.connect(Opened, fail)
        manager.connect(ListenerErrorEvent, hear)
    managers[0].emit(Opened())
    for manager in managers:
        manager.close()

    assert len(told) == 1
    assert len(caplog.records) == 3


def test_what_a_task_of_such_a_coroutine_does_later_is_told_again(manager: EventManager) -> None:
    told: list[BaseEvent] = []

    async def hear(event: ListenerErrorEvent) -> None:
        told.append(event)
        if len(told) == 1:
            tasks.append(asyncio.create_task(later()))

    async def later() -> None:
        await asyncio.sleep(0)
        manager.emit(Opened())
        await asyncio.to_thread(manager.emit, Opened())

    async def run() -> None:
        manager.connect(Opened, fail)
        manager.connect(ListenerErrorEvent, hear, where=lambda event: isinstance(event.event, Opened))
        manager.emit(Opened())
        await asyncio.sleep(0)
        await tasks[0]
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(run())

    assert len(told) == 2  # in another thread, no loop runs for the coroutine listener


def test_what_a_coroutine_that_hears_of_failures_brings_about_is_only_logged(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[BaseEvent] = []

    async def hear(event: ListenerErrorEvent) -> None:
        told.append(event)
        manager.emit(Opened())  # which fails in its turn
        raise OSError("no use")

    async def run() -> None:
        manager.connect(Opened, fail)
        manager.connect(ListenerErrorEvent, hear)
        manager.emit(Opened())
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(run())

    assert len(told) == 1
    assert len(caplog.records) == 3  # of the first event, of the second, and of the coroutine


def test_what_the_hook_leaves_for_later_is_told_again() -> None:
    told: list[Any] = []

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def hook(event: BaseEvent, listener: object, error: Exception) -> None:
            told.append((type(error), vars(event)["number"]))
            if len(told) == 1:
                loop.call_soon(lambda: manager.emit(Opened(number=2)))
                loop.call_soon(done.set)

        manager = EventManager(on_error=hook)
        manager.connect(Opened, raising(ValueError("stuck")), weak=False)
        manager.emit(Opened(number=1))
        await done.wait()
        manager.emit(Opened(number=3))

    asyncio.run(run())

    assert told == [(ValueError, 1), (ValueError, 2), (ValueError, 3)]


def test_a_hook_that_fails_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    def tell(event: BaseEvent, listener: object, error: Exception) -> None:
        raise ValueError("tell")

    manager = EventManager(on_error=tell)
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert len(recorder.events) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"listener {fail!r} failed for Opened()",
        f"on_error {tell!r} failed for Opened()",
    ]


@pytest.mark.parametrize("condition", [{"filter": {"broken": 1}}, {"filter": {"broken": []}}, {"where": fail}])
def test_a_condition_that_fails_is_no_match_and_is_told(manager: EventManager, condition: dict[str, Any]) -> None:
    heard: list[BaseEvent] = []
    others: list[BaseEvent] = []
    manager.connect(Opened, heard.append, **condition)
    manager.connect(Opened, others.append)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert (len(heard), len(others)) == (0, 1)
    assert recorder.one(ListenerErrorEvent).listener == heard.append


def test_a_strict_manager_raises_all_errors_after_all_have_run() -> None:
    heard: list[BaseEvent] = []
    manager = EventManager(strict=True)
    manager.connect(Opened, fail)
    manager.connect(Opened, raising(KeyError("second")))
    manager.connect(Opened, print, where=raising(ValueError("where")))
    manager.connect(Opened, heard.append)

    with pytest.raises(ExceptionGroup, match=r"listeners failed for Opened\(size=1\)") as caught:
        manager.emit(Opened(size=1))

    assert [type(error) for error in caught.value.exceptions] == [ValueError, OSError, KeyError]
    assert len(heard) == 1


def test_a_strict_manager_tells_errors_as_others_do_and_is_quiet_without() -> None:
    manager = EventManager(strict=True)
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder, pytest.raises(ExceptionGroup):
        manager.emit(Opened())
    manager.emit(Closed())

    assert len(recorder.events) == 1


@pytest.mark.parametrize("kind", [Opened, Hooked])
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), Interruption(), RecursionError()],
    ids=repr,
)
def test_what_is_no_mere_failure_goes_through_at_once(
    manager: EventManager, caplog: pytest.LogCaptureFixture, kind: type[Opened], error: BaseException
) -> None:
    heard: list[BaseEvent] = []
    manager.connect(Opened, raising(error))
    manager.connect(Opened, heard.append)
    event = kind()

    with pytest.raises(type(error)) as caught:
        manager.emit(event)

    assert caught.value is error
    assert heard == []
    assert caplog.records == []
    assert getattr(event, "finished", True)


@pytest.mark.parametrize(
    "condition",
    [{"filter": {"endless": 1}}, {"filter": {"endless": 1}, "where": bool}, {"where": raising(RecursionError())}],
)
def test_an_endless_condition_goes_through_at_once(manager: EventManager, condition: dict[str, Any]) -> None:
    manager.connect(Opened, print, **condition)

    with pytest.raises(RecursionError):
        manager.emit(Opened())


def test_an_endless_hook_goes_through_at_once() -> None:
    def tell(event: BaseEvent, listener: object, error: Exception) -> None:
        raise RecursionError

    manager = EventManager(on_error=tell)
    manager.connect(Opened, fail)

    with pytest.raises(RecursionError):
        manager.emit(Opened())


@pytest.mark.parametrize("kind", [Opened, Hooked])
def test_two_listeners_that_emit_for_each_other_end_in_a_recursion_error(
    manager: EventManager, kind: type[Opened]
) -> None:
    manager.connect(Opened, lambda event: manager.emit(Closed()))
    manager.connect(Closed, lambda event: manager.emit(kind()))

    with pytest.raises(RecursionError):
        manager.emit(kind())


def test_after_an_interrupt_the_manager_works_and_tells_as_before(manager: EventManager) -> None:
    with manager.connect(Opened, raising(KeyboardInterrupt())), pytest.raises(KeyboardInterrupt):
        manager.emit(Opened())
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert len(recorder.events) == 1
