"""Loggers whose filters and handlers are isolated."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.background import run_in_background
from encore_events.loggers import get_logger
from tests.storage.support import LONG

logger = get_logger("encore_events")


class Opened(BaseEvent):
    """An event."""


class Raising(logging.Filter):
    """A filter that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def filter(self, record: logging.LogRecord) -> bool:
        raise self.error


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of arguments passed to threading.excepthook."""
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    return shown


@pytest.fixture
def raising(request: pytest.FixtureRequest) -> Iterator[Raising]:
    """Add a filter that raises to the logger of the bus."""
    one = Raising(request.param if hasattr(request, "param") else ZeroDivisionError("in a filter"))
    logger.logger.addFilter(one)
    yield one
    logger.logger.removeFilter(one)


def test_failing_filter_is_shown_and_not_raised(raising: Raising, shown: list[Any]) -> None:
    logger.warning("a line")
    logger.log(logging.ERROR, "another")

    assert [one.exc_value for one in shown] == [raising.error] * 2
    assert repr(logger) == "<IsolatedLogger 'encore_events'>"


def test_failing_filter_never_reaches_the_emitter(manager: EventManager, raising: Raising, shown: list[Any]) -> None:
    event, reached = Opened(), list[BaseEvent]()
    manager.connect(Opened, lambda _: 1 / 0)
    manager.connect(Opened, reached.append)

    manager.emit(event)

    assert reached == [event]
    assert [one.exc_value for one in shown] == [raising.error]


@pytest.mark.parametrize("raising", [KeyboardInterrupt()], indirect=True, ids=repr)
def test_interrupts_are_raised(raising: Raising) -> None:
    with pytest.raises(KeyboardInterrupt):
        logger.warning("a line")
    assert not logger.is_logging()


@pytest.mark.parametrize("raising", [RecursionError()], indirect=True, ids=repr)
def test_recursion_error_of_a_filter_is_shown(raising: Raising, shown: list[Any]) -> None:
    logger.warning("a line")

    assert [one.exc_value for one in shown] == [raising.error]


class Handling(logging.Handler):
    """A handler that calls a function for each line."""

    def __init__(self, handle: Callable[[str], object]) -> None:
        super().__init__()
        self.call = handle

    def emit(self, record: logging.LogRecord) -> None:
        self.call(record.getMessage())


@pytest.fixture
def handling() -> Iterator[Callable[[Callable[[str], object]], None]]:
    """Return a function that adds a handler to the logger of the bus."""
    added: list[logging.Handler] = []

    def add(handle: Callable[[str], object]) -> None:
        added.append(Handling(handle))
        logger.logger.addHandler(added[-1])

    yield add
    for one in added:
        logger.logger.removeHandler(one)


def test_handler_that_logs_endlessly_is_shown_once(
    handling: Callable[[Callable[[str], object]], None], shown: list[Any]
) -> None:
    handling(logger.warning)

    logger.warning("a line")

    assert [one.exc_type for one in shown] == [RecursionError]


def test_failures_that_a_handler_causes_are_shown_and_do_not_recurse(
    manager: EventManager, handling: Callable[[Callable[[str], object]], None], shown: list[Any]
) -> None:
    lines, received = list[str](), list[BaseEvent]()
    manager.connect(Opened, lambda _: 1 / 0)
    manager.connect(Opened, received.append)
    handling(lines.append)
    handling(lambda _: manager.emit(Opened(number=2)))

    manager.emit(Opened(number=1))

    assert [line.partition(" failed for ")[2] for line in lines] == ["Opened"]
    assert [one.exc_type for one in shown] == [ZeroDivisionError]
    assert [vars(event)["number"] for event in received] == [2, 1]


def test_line_has_the_place_of_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger.info("a line")
    logger.log(logging.INFO, "another")

    assert {(record.filename, record.funcName) for record in caplog.records} == {
        ("test_loggers.py", "test_line_has_the_place_of_its_caller")
    }


def test_failing_hook_ends_no_thread_of_the_bus(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(threading, "excepthook", fail)
    done, emitted = threading.Event(), threading.Event()

    def end(_: object) -> None:
        emitted.set()
        raise SystemExit

    manager.connect(BaseEvent, end)
    run_in_background(lambda: 1 / 0)
    run_in_background(done.set)
    assert done.wait(LONG)
    for _ in range(2):
        emitted.clear()
        manager.emit(BaseEvent(), block=False)
        assert emitted.wait(LONG)
