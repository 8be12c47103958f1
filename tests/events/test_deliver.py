"""Delivery of events to all listeners in spite of interrupts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.delivery import has_reached_any
from encore_events.testing import EventRecorder
from tests.storage.sweeps import sweep


class Ended(BaseEvent):
    pass


class Hooked(Ended):
    def post_emit(self) -> None:
        self.is_over = True


INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit]


def raising(error: BaseException) -> Callable[[BaseEvent], None]:
    def listener(event: BaseEvent) -> None:
        raise error

    return listener


@pytest.fixture
def received(manager: EventManager) -> list[str]:
    """Return a list for the names of called listeners."""
    return []


def listener(received: list[str], name: str) -> Callable[[BaseEvent], None]:
    def note(event: BaseEvent) -> None:
        received.append(name)

    return note


def interrupted_at_its_start(function: Callable[..., Any], call: Callable[[], object]) -> None:
    """Make the call, and interrupt `function` before its first line, where Python handles signals."""

    def trace(frame: FrameType, event: str, arg: object) -> None:
        if frame.f_code is function.__code__:
            sys.settrace(before)
            raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_interrupt_is_raised_after_the_last_listener(
    manager: EventManager, received: list[str], interrupt: type[BaseException]
) -> None:
    manager.connect(Ended, listener(received, "before"))
    manager.connect(Ended, raising(interrupt("now")))
    manager.connect(Ended, listener(received, "after"))

    with pytest.raises(interrupt, match="now"):
        manager.deliver(Ended())

    assert received == ["before", "after"]


def test_first_of_several_interrupts_is_raised(manager: EventManager, received: list[str]) -> None:
    manager.connect(Ended, raising(KeyboardInterrupt("first")))
    manager.connect(Ended, raising(SystemExit("second")))
    manager.connect(Ended, listener(received, "after"))

    with pytest.raises(KeyboardInterrupt, match="first"):
        manager.deliver(Ended())

    assert received == ["after"]


def test_listener_interrupted_before_its_first_line_is_called_once(manager: EventManager, received: list[str]) -> None:
    function = listener(received, "late")
    manager.connect(Ended, listener(received, "before"))
    manager.connect(Ended, function)

    with pytest.raises(KeyboardInterrupt):
        interrupted_at_its_start(function, lambda: manager.deliver(Ended()))

    assert received == ["before", "late"]


def test_weak_method_interrupted_before_its_first_line_is_called_once(manager: EventManager) -> None:
    class Listener:
        count = 0

        def receive(self, event: BaseEvent) -> None:
            self.count += 1

    object_ = Listener()
    manager.connect(Ended, object_.receive)

    with pytest.raises(KeyboardInterrupt):
        interrupted_at_its_start(Listener.receive, lambda: manager.deliver(Ended()))

    assert object_.count == 1


def test_event_is_delivered_once(manager: EventManager, received: list[str]) -> None:
    manager.connect(Ended, listener(received, "one"))
    event = Ended()

    manager.deliver(event)
    manager.deliver(event)

    assert received == ["one"]


def test_deliver_isolates_and_reports_errors(received: list[str]) -> None:
    reported: list[tuple[object, str]] = []
    manager = EventManager(on_error=lambda event, listener, error: reported.append((listener, str(error))))
    failing = [raising(OSError(str(number))) for number in range(3)]
    for each in failing:
        manager.connect(Ended, each)
    manager.connect(Ended, listener(received, "last"))

    manager.deliver(Ended())

    assert reported == [(each, str(number)) for number, each in enumerate(failing)]
    assert received == ["last"]


def test_delivery_without_stack_is_resumed_by_a_caller_with_some(manager: EventManager, received: list[str]) -> None:
    manager.connect(Ended, listener(received, "one"))
    manager.connect(Ended, listener(received, "two"))
    event = Ended()

    def deep() -> None:
        try:
            deep()
        except RecursionError:
            manager.deliver(event)  # fails, too, until the stack is short enough

    deep()

    assert received == ["one", "two"]


def test_deliver_respects_filters_priorities_and_handled(manager: EventManager, received: list[str]) -> None:
    manager.connect(Ended, listener(received, "low"), priority=-1)
    manager.connect(Ended, listener(received, "filtered"), {"colour": "red"})
    manager.connect(Ended, lambda event: event.mark_as_handled(), {"colour": "blue"}, priority=5)

    manager.deliver(Ended(colour="red"))
    manager.deliver(Ended(colour="blue"))

    assert received == ["filtered", "low"]


def test_deliver_runs_hooks(manager: EventManager, received: list[str]) -> None:
    manager.connect(Ended, listener(received, "one"))
    event = Hooked()

    manager.deliver(event)
    manager.deliver(event)

    assert event.is_over
    assert received == ["one"]


def test_deliver_of_strict_manager_raises_after_all_listeners(received: list[str]) -> None:
    manager = EventManager(strict=True)
    manager.connect(Ended, raising(OSError("no")))
    manager.connect(Ended, listener(received, "after"))

    with pytest.raises(ExceptionGroup):
        manager.deliver(Ended())

    assert received == ["after"]


def test_delivered_event_is_held_and_released_once(manager: EventManager, recorder: EventRecorder) -> None:
    event = Ended()
    with manager.hold(Ended) as held:
        manager.deliver(event)
        manager.deliver(event)
        assert len(held) == 1
        held.release()

    assert recorder.events == [event]


def test_interrupted_release_resumes(manager: EventManager, recorder: EventRecorder) -> None:
    stop = manager.connect(Ended, raising(KeyboardInterrupt()), {"number": 1})
    with manager.hold(Ended) as held:
        for number in range(3):
            manager.deliver(Ended(number=number))
        with pytest.raises(KeyboardInterrupt):
            held.deliver()
        stop.disconnect()
        held.deliver()

    assert [vars(event)["number"] for event in recorder.events] == [0, 1, 2]


def test_has_reached_any_is_true_after_first_listener(manager: EventManager, received: list[str]) -> None:
    function = listener(received, "one")
    manager.connect(Ended, function)
    event = Ended()

    assert not has_reached_any(event)
    manager.deliver(event)
    assert has_reached_any(event)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_interrupt_at_any_instruction_skips_no_listener(
    error: type[BaseException],
) -> None:
    class Made:
        def __init__(self) -> None:
            self.manager, self.event = EventManager(), Ended()
            self.received: list[str] = []
            for name in ("one", "two"):
                self.manager.connect(Ended, listener(self.received, name))
            self.manager.has_listeners(Ended)  # makes its plan

    def check(made: Any, raised: BaseException | None) -> None:
        made.manager.deliver(made.event)
        assert made.received == ["one", "two"]

    def call(made: Any) -> None:
        made.manager.deliver(made.event)

    assert sweep(Made, call, check, events="opcode", error=error) > 50
