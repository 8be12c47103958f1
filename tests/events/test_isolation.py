"""Isolation and reporting of listeners' exceptions."""

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


def test_error_reaches_neither_emitter_nor_other_listeners(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, fail)
    manager.connect(Opened, received.append)

    manager.emit(Opened())

    assert len(received) == 1


def test_error_is_isolated_for_events_with_hooks(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, fail)
    manager.connect(Opened, received.append)
    event = Hooked()

    manager.emit(event)

    assert received == [event]
    assert event.finished


def test_error_is_logged(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    manager.connect(Opened, fail)

    manager.emit(Opened(size=1))

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("encore_events", "ERROR")
    assert record.getMessage() == f"listener {fail!r} failed for Opened(size=1)"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


def test_error_is_passed_to_on_error() -> None:
    reported: list[tuple[BaseEvent, object, Exception]] = []
    manager = EventManager(on_error=lambda *what: reported.append(what))
    manager.connect(Opened, fail)
    event = Opened()

    manager.emit(event)

    ((which, listener, error),) = reported
    assert which is event
    assert listener is fail
    assert isinstance(error, OSError)


def test_error_is_emitted_as_an_event(manager: EventManager) -> None:
    manager.connect(Opened, fail)
    event = Opened()

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(event)

    reported = recorder.one(ListenerErrorEvent)
    assert (reported.source, reported.event, reported.listener, str(reported.error)) == (manager, event, fail, "fail")


def test_each_failing_listener_is_reported(manager: EventManager) -> None:
    fails = [raising(OSError("1")), raising(ValueError("2")), raising(KeyError("3"))]
    for func in fails:
        manager.connect(Opened, func)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert [event.listener for event in recorder.of(ListenerErrorEvent)] == fails


def test_failure_of_an_error_listener_is_only_logged(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    manager.connect(ListenerErrorEvent, raising(ValueError("1")))
    manager.connect(BaseEvent, raising(ValueError("2")), {"word": None}, priority=1)
    manager.connect(ListenerErrorEvent, raising(ValueError("3")), priority=1)
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert len(recorder.events) == 1
    assert len(caplog.records) == 3


@pytest.mark.parametrize("wanted", [None, {"source": 1}, {"handled": False, "source": 1}])
@pytest.mark.parametrize("kind", [Opened, Hooked])
def test_listener_does_not_hear_of_its_own_failure(
    manager: EventManager, kind: type[Opened], wanted: dict[str, Any] | None
) -> None:
    received: list[BaseEvent] = []
    others: list[BaseEvent] = []

    def fails(event: BaseEvent) -> None:
        received.append(event)
        event.source = 1
        raise OSError

    manager.connect(BaseEvent, fails, wanted)
    manager.connect(ListenerErrorEvent, fails)
    manager.connect(BaseEvent, others.append)
    event = kind(source=1)

    manager.emit(event)
    manager.deliver(event)

    assert received == [event] * 2
    assert [type(each) for each in others] == [ListenerErrorEvent, kind] * 2


def test_listener_hears_of_failures_of_other_methods_of_its_object(manager: EventManager) -> None:
    class Box:
        def __init__(self) -> None:
            self.received: list[BaseEvent] = []

        def fail(self, event: BaseEvent) -> None:
            raise OSError

        def receive(self, event: BaseEvent) -> None:
            self.received.append(event)

    box, other = Box(), Box()
    for each in (box, other):
        manager.connect(ListenerErrorEvent, each.receive)
        manager.connect(ListenerErrorEvent, each.fail)
    manager.connect(Opened, box.fail)

    manager.emit(Opened())

    (event,) = box.received
    assert other.received == [event]
    assert box.fail not in manager.get_listeners(event)
    assert other.fail in manager.get_listeners(event)


def test_error_during_a_report_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[BaseEvent] = []

    def on_error(event: BaseEvent, listener: object, error: Exception) -> None:
        reported.append(event)
        manager.emit(Closed())

    manager = EventManager(on_error=on_error)
    manager.connect(BaseEvent, fail)

    manager.emit(Opened())
    manager.emit(Opened())

    assert [type(event) for event in reported] == [Opened, Opened]
    assert len(caplog.records) == 4


def test_error_on_the_worker_caused_by_a_report_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    managers = EventManager(), EventManager()
    reported: list[BaseEvent] = []

    def receive(event: ListenerErrorEvent) -> None:
        reported.append(event)
        for manager in managers:
            manager.emit(Opened(), block=False)

    for manager in managers:
        manager.connect(Opened, fail)
        manager.connect(ListenerErrorEvent, receive)
    managers[0].emit(Opened())
    for manager in managers:
        manager.close()

    assert len(reported) == 1
    assert len(caplog.records) == 3


def test_later_error_of_a_task_started_by_a_report_is_reported(manager: EventManager) -> None:
    reported: list[BaseEvent] = []

    async def receive(event: ListenerErrorEvent) -> None:
        reported.append(event)
        if len(reported) == 1:
            tasks.append(asyncio.create_task(later()))

    async def later() -> None:
        await asyncio.sleep(0)
        manager.emit(Opened())
        await asyncio.to_thread(manager.emit, Opened())

    async def run() -> None:
        manager.connect(Opened, fail)
        manager.connect(ListenerErrorEvent, receive, where=lambda event: isinstance(event.event, Opened))
        manager.emit(Opened())
        await asyncio.sleep(0)
        await tasks[0]
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(run())

    assert len(reported) == 2  # in another thread, no loop runs for the coroutine listener


def test_error_caused_by_a_coroutine_error_listener_is_only_logged(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[BaseEvent] = []

    async def receive(event: ListenerErrorEvent) -> None:
        reported.append(event)
        manager.emit(Opened())  # which fails, too
        raise OSError("no use")

    async def run() -> None:
        manager.connect(Opened, fail)
        manager.connect(ListenerErrorEvent, receive)
        manager.emit(Opened())
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(run())

    assert len(reported) == 1
    assert len(caplog.records) == 3  # for the first event, the second, and the coroutine


def test_error_scheduled_by_on_error_for_later_is_reported() -> None:
    reported: list[Any] = []

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def hook(event: BaseEvent, listener: object, error: Exception) -> None:
            reported.append((type(error), vars(event)["number"]))
            if len(reported) == 1:
                loop.call_soon(lambda: manager.emit(Opened(number=2)))
                loop.call_soon(done.set)

        manager = EventManager(on_error=hook)
        manager.connect(Opened, raising(ValueError("stuck")), weak=False)
        manager.emit(Opened(number=1))
        await done.wait()
        manager.emit(Opened(number=3))

    asyncio.run(run())

    assert reported == [(ValueError, 1), (ValueError, 2), (ValueError, 3)]


def test_failing_on_error_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    def on_error(event: BaseEvent, listener: object, error: Exception) -> None:
        raise ValueError("on_error")

    manager = EventManager(on_error=on_error)
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert len(recorder.events) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"listener {fail!r} failed for Opened()",
        f"on_error {on_error!r} failed for Opened()",
    ]


@pytest.mark.parametrize("condition", [{"filter": {"broken": 1}}, {"filter": {"broken": []}}, {"where": fail}])
def test_failing_filter_or_predicate_is_no_match_and_reported(manager: EventManager, condition: dict[str, Any]) -> None:
    received: list[BaseEvent] = []
    others: list[BaseEvent] = []
    manager.connect(Opened, received.append, **condition)
    manager.connect(Opened, others.append)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert (len(received), len(others)) == (0, 1)
    assert recorder.one(ListenerErrorEvent).listener == received.append


def test_strict_manager_raises_all_errors_after_all_listeners() -> None:
    received: list[BaseEvent] = []
    manager = EventManager(strict=True)
    manager.connect(Opened, fail)
    manager.connect(Opened, raising(KeyError("second")))
    manager.connect(Opened, print, where=raising(ValueError("where")))
    manager.connect(Opened, received.append)

    with pytest.raises(ExceptionGroup, match=r"listeners failed for Opened\(size=1\)") as caught:
        manager.emit(Opened(size=1))

    assert [type(error) for error in caught.value.exceptions] == [ValueError, OSError, KeyError]
    assert len(received) == 1


def test_strict_manager_also_reports_errors() -> None:
    manager = EventManager(strict=True)
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder, pytest.raises(ExceptionGroup):
        manager.emit(Opened())
    manager.emit(Closed())

    assert len(recorder.events) == 1


@pytest.mark.parametrize("kind", [Opened, Hooked])
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), Interruption()],
    ids=repr,
)
def test_interrupts_propagate_at_once(
    manager: EventManager, caplog: pytest.LogCaptureFixture, kind: type[Opened], error: BaseException
) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, raising(error))
    manager.connect(Opened, received.append)
    event = kind()

    with pytest.raises(type(error)) as caught:
        manager.emit(event)

    assert caught.value is error
    assert received == []
    assert caplog.records == []
    assert getattr(event, "finished", True)


def test_manager_works_after_an_interrupt(manager: EventManager) -> None:
    with manager.connect(Opened, raising(KeyboardInterrupt())), pytest.raises(KeyboardInterrupt):
        manager.emit(Opened())
    manager.connect(Opened, fail)

    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        manager.emit(Opened())

    assert len(recorder.events) == 1
