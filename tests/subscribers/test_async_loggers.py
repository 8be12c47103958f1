"""Log lines through structlog's loggers with asynchronous methods."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from encore_events import EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import LogSubscriber
from tests.subscribers.support import end


class OwnBoundLogger(structlog.stdlib.BoundLogger):
    """A synchronous logger of the program's own."""


class OwnAsyncLogger(structlog.stdlib.AsyncBoundLogger):
    """An asynchronous logger of the program's own, around its synchronous one."""

    _bound_logger_factory = OwnBoundLogger


class UnknownAsyncLogger(structlog.BoundLogger):
    """An asynchronous logger that has no synchronous one."""

    async def info(self, event: str, **fields: Any) -> None:
        """Log a line, if awaited."""


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=[structlog.stdlib.AsyncBoundLogger, OwnAsyncLogger])
def configured(request: pytest.FixtureRequest, stream: io.StringIO) -> Iterator[None]:
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(stream),
        wrapper_class=request.param,
        cache_logger_on_first_use=True,
    )
    yield
    structlog.reset_defaults()


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.usefixtures("configured")
def test_async_logger_logs_in_a_loop_and_in_its_threads(manager: EventManager, stream: io.StringIO) -> None:
    store = DictMemoryStore(name="archive", event_manager=manager)

    async def work() -> None:
        structlog.contextvars.bind_contextvars(request="r1")
        store.from_bytes("a", b"1")
        await asyncio.to_thread(store.from_bytes, "b", b"2")

    with LogSubscriber().connect(manager):
        asyncio.run(work())

    ended = [line for line in lines_of(stream) if line["event"] == "store.operation.ended"]
    assert [(line["key"], line["request"]) for line in ended] == [("a", "r1"), ("b", "r1")]


@pytest.mark.usefixtures("configured")
def test_async_logger_logs_without_a_loop(manager: EventManager, stream: io.StringIO) -> None:
    with LogSubscriber(logger=structlog.get_logger("name", service="billing")).connect(manager):
        manager.emit(end(key="a"))

    assert [(line["key"], line["service"]) for line in lines_of(stream)] == [("a", "billing")]


@pytest.mark.usefixtures("configured")
def test_bound_async_logger_logs_after_its_loop(manager: EventManager, stream: io.StringIO) -> None:
    async def bind() -> Any:
        return structlog.get_logger().bind(service="billing")

    with LogSubscriber(logger=asyncio.run(bind())).connect(manager):
        manager.emit(end(key="a"))

    assert [(line["key"], line["service"]) for line in lines_of(stream)] == [("a", "billing")]


def test_level_of_an_async_logger_is_respected(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    target = logging.getLogger(f"{__name__}.level")
    target.setLevel(logging.ERROR)
    logger = structlog.wrap_logger(
        target,
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
    )

    with LogSubscriber(logger=logger).connect(manager):
        manager.emit(end(key="a"))
        manager.emit(end(key="b", outcome="error", error=OSError("broken")))

    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_asynchronous_logger_of_another_kind_is_reported(manager: EventManager, stream: io.StringIO) -> None:
    logger = structlog.wrap_logger(structlog.PrintLogger(stream), wrapper_class=UnknownAsyncLogger)
    recorder = EventRecorder(manager, ListenerErrorEvent)

    with recorder, warnings.catch_warnings(), LogSubscriber(logger=logger).connect(manager):
        warnings.simplefilter("ignore")
        manager.emit(end(key="a"))

    assert "is asynchronous: pass one" in str(recorder.one(ListenerErrorEvent).error)
