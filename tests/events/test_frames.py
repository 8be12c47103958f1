"""Events that wait in a stream: they keep no frames of a failed program alive."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import subprocess
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_events.frames import without_frames
from encore_events.ids import id_of
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore, KeyNotFoundError
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from tests.subscribers.support import BrokenSource


class Ended(BaseEvent):
    pass


class Large:
    """A local variable of the program's."""


class WithSlots(Exception):  # noqa: N818 (as a program names it)
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __str__(self) -> str:
        return f"number {self.number}"


class Strange(Exception):  # noqa: N818 (as a program names it)
    """An error whose methods raise."""

    def __reduce__(self) -> str:
        raise ZeroDivisionError

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("__"):
            raise ZeroDivisionError

    def __new__(cls, *, number: int) -> Self:
        return super().__new__(cls, number)

    def __init__(self, *, number: int) -> None:
        pass


def caught(error: BaseException) -> BaseException:
    """Return the error, raised in a frame that ends."""
    try:
        large = Large()
        caught.last = weakref.ref(large)  # type: ignore[attr-defined]  # for the test
        raise error
    except BaseException as again:
        return again


def is_free() -> bool:
    gc.collect()
    return caught.last() is None  # type: ignore[attr-defined]  # as above


def with_cause(*, suppressed: bool) -> BaseException:
    try:
        try:
            raise caught(OSError(5, "cause"))
        except OSError as cause:
            raise KeyError("key") from (None if suppressed else cause)
    except KeyError as error:
        return error


def in_cycle() -> BaseException:
    one, other = caught(KeyError("one")), ValueError("other")
    one.__cause__, other.__context__ = other, one
    return one


def wrapping() -> BaseException:
    """Return an error with another one as an attribute, such as SQLAlchemy's."""
    error = RuntimeError("wraps")
    error.orig = caught(OSError("original"))  # type: ignore[attr-defined]  # as programs do
    return error


ERRORS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: caught(KeyNotFoundError("k", "s")),
    "system": lambda: caught(OSError(2, "no", "file")),
    "decode": lambda: caught(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")),
    "process": lambda: caught(subprocess.CalledProcessError(1, ["ls"])),
    "slots": lambda: caught(WithSlots(3)),
    "cause": lambda: with_cause(suppressed=False),
    "context": lambda: with_cause(suppressed=True),
    "cycle": in_cycle,
    "attribute": wrapping,
    "argument": lambda: RuntimeError("wraps", caught(OSError("original"))),
    "group": lambda: BaseExceptionGroup("both", [caught(OSError("one")), ValueError("two")]),
    "strange": lambda: caught(Strange(number=2)),
    "interrupt": lambda: caught(KeyboardInterrupt("now")),
    "cancelled": lambda: caught(asyncio.CancelledError("now")),
}


def traced(error: BaseException) -> list[str]:
    return [line for line in traceback.format_exception(error) if "File" not in line and "Traceback" not in line]


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "block"])
def test_waiting_event_keeps_no_frames_alive(
    manager: EventManager, make: Callable[[], BaseException], policy: Any
) -> None:
    stream = manager.stream(Ended, policy=policy)

    def fail() -> tuple[type, object, dict[str, Any], list[str]]:
        error = make()
        manager.emit(Ended(error=error, word="x"))
        return type(error), error.args[0] if error.args else None, vars(error), traced(without_frames(error))

    kind, first, state, lines = fail()
    state.pop("orig", None)
    assert is_free()

    event: Any = stream.get(1)
    assert (type(event.error), event.error.args[0] if event.error.args else None) == (kind, first)
    assert {name: value for name, value in vars(event.error).items() if name != "orig"} == state
    assert traced(event.error) == lines
    assert event.word == "x"


def test_error_of_the_program_keeps_its_traceback(manager: EventManager) -> None:
    error = caught(OSError("mine"))
    before = error.__traceback__
    stream, event = manager.stream(Ended), Ended(error=error)
    with EventRecorder(manager) as recorder:
        manager.emit(event)

    assert before is not None
    assert error.__traceback__ is before
    assert recorder.one(Ended) is event
    assert id_of(stream.drain()[0][1]) == id_of(event)


def test_event_without_a_traceback_is_the_same_object(manager: EventManager) -> None:
    stream = manager.stream(BaseEvent)
    events = [Ended(), Ended(error=None), Ended(error="words"), Ended(error=OSError("never raised"))]
    for event in events:
        manager.emit(event)
    with contextlib.suppress(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            manager.emit(events[0])

    assert [event for _, event in stream.drain()] == [*events, events[0]]


def test_attribute_of_any_name_keeps_no_frames_while_an_error_is_handled(manager: EventManager) -> None:
    stream = manager.stream(Ended)

    def fail() -> None:
        try:
            large = Large()
            caught.last = weakref.ref(large)  # type: ignore[attr-defined]  # as above
            raise OSError
        except OSError as error:
            manager.emit(Ended(reason=error))

    fail()

    assert is_free()
    assert len(stream) == 1


def test_failure_of_a_listener_keeps_no_frames_alive(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "encore_events")  # pytest would keep the record
    stream = manager.stream(ListenerErrorEvent)

    def fail(event: BaseEvent) -> None:
        caught(OSError())
        raise caught(KeyError())

    manager.connect(Ended, fail)
    manager.emit(Ended(error=caught(ValueError())))

    assert is_free()
    event: Any = stream.get(1)
    assert (type(event.error), type(event.event), type(event.event.error)) == (KeyError, Ended, ValueError)


def store_calls(store: DictMemoryStore) -> Iterator[Callable[[], object]]:
    yield lambda: store.set_data("a", BrokenSource(OSError()))
    yield lambda: store.to_bytes("missing")
    yield lambda: store.set("a", (io.BytesIO(), {"a": object()}))

    def roll_back() -> None:
        with store.transaction():
            store.set_data("a", BrokenSource(OSError()))

    yield roll_back


def test_failures_of_a_store_keep_no_frames_alive(manager: EventManager) -> None:
    store = DictMemoryStore(event_manager=manager)
    stream = manager.stream(BaseEvent)

    def call(function: Callable[[], object]) -> weakref.ref[Large]:
        large = Large()
        with contextlib.suppress(OSError, KeyError, TypeError):
            function()
        return weakref.ref(large)

    kept = [call(function) for function in store_calls(store)]
    gc.collect()

    assert [reference() for reference in kept] == [None] * 4
    events = [event for _, event in stream.drain()]
    errors = [event.error for event in events if isinstance(event, StoreProgressEndEvent | StoreTransactionEndEvent)]
    assert len([error for error in errors if error is not None]) == 5
