"""Loggers whose filters and handlers are isolated."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
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


@pytest.mark.parametrize("raising", [RecursionError(), KeyboardInterrupt()], indirect=True, ids=repr)
def test_interrupts_and_the_end_of_the_stack_are_raised(raising: Raising) -> None:
    with pytest.raises(type(raising.error)):
        logger.warning("a line")


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
