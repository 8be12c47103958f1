"""Errors whose `str`, `repr` or attributes raise: operations end, and the program gets its own error."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from encore_events import EventManager, ListenerErrorEvent, ProgressEndEvent, ProgressManager
from encore_events.testing import EventRecorder
from encore_events.text import message_of, repr_of, text_of
from encore_storage import DictMemoryStore, KeyNotFoundError
from encore_storage.codec import EventCodec
from encore_storage.errors import error_type_of
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.observing import StoreObserver
from encore_storage.streams import BufferIteratorIO
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber


class Mute(Exception):  # noqa: N818 (as a program names it)
    def __str__(self) -> str:
        return f"refused: {self.reason}"  # type: ignore[attr-defined]  # the slip

    __repr__ = __str__


class Number(Exception):  # noqa: N818 (as a program names it)
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307 (the slip)

    __repr__ = __str__


class Endless(OSError):  # noqa: N818 (as a program names it)
    def __str__(self) -> str:
        return str(self)

    __repr__ = __str__


class Missing(KeyNotFoundError):  # noqa: N818 (as a program names it)
    def __init__(self) -> None:
        super().__init__("a", "memory")

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


class Stopped(BaseException):
    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


class Odd(OSError):  # noqa: N818 (as a program names it)
    errno: Any = []  # noqa: RUF012 (as a program writes it)

    def __str__(self) -> str:
        raise MemoryError

    __repr__ = __str__


ERRORS: list[type[BaseException]] = [Mute, Number, Endless, Missing, Stopped, Odd]


class Source:
    """A source that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def read(self, size: int = -1) -> bytes:
        raise self.error


def in_transaction(store: DictMemoryStore, error: BaseException) -> None:
    with store.transaction():
        raise error


def in_operation(store: DictMemoryStore, error: BaseException) -> None:
    with StoreObserver("other", event_manager=store.event_manager).operation("get", "a", direction="read"):
        raise error


def in_stream(store: DictMemoryStore, error: BaseException) -> None:
    stream = BufferIteratorIO(iter(Source(error).read, b""))
    with StoreObserver("other", event_manager=store.event_manager).reading("a", stream) as reading:
        reading.read()


CALLS: dict[str, Callable[[DictMemoryStore, BaseException], object]] = {
    "set": lambda store, error: store.set("a", (Source(error), {})),
    "set_data": lambda store, error: store.set_data("a", Source(error)),
    "transaction": in_transaction,
    "operation": in_operation,
    "stream": in_stream,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("cls", ERRORS)
def test_error_without_text_reaches_the_program_and_ends_the_operation(
    manager: EventManager, cls: type[BaseException], call: Callable[[DictMemoryStore, BaseException], object]
) -> None:
    output = io.StringIO()
    logger = structlog.wrap_logger(structlog.WriteLogger(output), processors=[structlog.processors.JSONRenderer()])
    store, error, codec = DictMemoryStore(event_manager=manager), cls(), EventCodec()
    registry = CollectorRegistry()
    with (
        EventRecorder(manager) as recorder,
        LogSubscriber(logger=logger, level="debug").connect(manager),
        MetricsSubscriber(registry=registry).connect(manager),
    ):
        with pytest.raises(cls) as caught:
            call(store, error)
        assert caught.value is error

    assert recorder.of(ListenerErrorEvent) == []
    ends: list[Any] = [*recorder.of(StoreProgressEndEvent), *recorder.of(StoreTransactionEndEvent)]
    (end,) = ends
    assert end.error is error
    if isinstance(end, StoreProgressEndEvent):
        assert end.message == cls.__name__
    assert codec.decode(codec.encode(end)).event is not None
    assert cls.__name__ in output.getvalue()


@pytest.mark.parametrize("cls", ERRORS)
def test_progress_ends_with_the_name_of_an_error_without_text(manager: EventManager, cls: type[BaseException]) -> None:
    with EventRecorder(manager) as recorder, pytest.raises(cls), ProgressManager(manager):
        raise cls

    assert recorder.one(ProgressEndEvent).message == cls.__name__


@pytest.mark.parametrize("cls", ERRORS)
def test_texts_of_an_error_never_raise(cls: type[BaseException]) -> None:
    error = cls()

    assert (text_of(error), repr_of(error)) == (f"<{cls.__name__}>",) * 2
    assert message_of(error) == cls.__name__
    assert error_type_of(error) in {"other", "not_found"}
    assert sys.exception() is None


def test_texts_of_other_errors_are_their_own() -> None:
    assert (text_of(OSError("no")), message_of(OSError("no")), message_of(OSError())) == ("no", "no", "OSError")
    assert repr_of(OSError("no")) == "OSError('no')"


def test_interrupt_in_a_text_is_raised() -> None:
    class Interrupted(Exception):  # noqa: N818 (as a program names it)
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        message_of(Interrupted())
