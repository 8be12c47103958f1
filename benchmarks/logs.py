"""The cost of a log line of a get, and of one that is filtered out, against a call written by hand."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.harness import Bench, Snippet
from benchmarks.metrics import events_of_a_get, get, store_on
from encore_events import EventManager
from encore_storage.subscribers.logs import LogSubscriber, open_logger
from encore_storage.subscribers.volume import Level

WRITE_BY_HAND = """
log.info(
    'store.operation.ended', store=end.store, operation=end.operation, key=end.key, operation_id=end.operation_id,
    transaction_id=end.transaction_id, bytes=end.bytes, duration=end.duration,
    bytes_per_second=end.bytes / end.duration, outcome=end.outcome, error_type=end.error_type, error=None,
)
"""


def benches() -> Iterator[Bench]:
    """Yield the rows of log lines."""
    yield Bench("a log line added to a get (JSON, to a file), against a bound structlog call", added, 1.45)
    yield Bench("a log line of a get filtered out by level, against a bound structlog call", filtered, 0.2)
    yield Bench("the end of a get logged, once it exists, against a bound structlog call", logged)
    yield Bench("the end of a get filtered out, once it exists, against a bound structlog call", ignored)


def added() -> tuple[Snippet, Snippet]:
    """Compare a get with a log line, less a get without listeners, with one that is followed by the line by hand."""
    return get(_with_logs("info"), less=get(EventManager())), _get_and_write()


def filtered() -> tuple[Snippet, Snippet]:
    """Compare a get whose line is filtered out in the same way."""
    return get(_with_logs("error"), less=get(EventManager())), _get_and_write()


def logged() -> tuple[Snippet, Snippet]:
    """Compare the emit of an event that is logged with the same line by hand."""
    return _emit(_with_logs("info")), _write_by_hand()


def ignored() -> tuple[Snippet, Snippet]:
    """Compare the emit of an event that is filtered out."""
    return _emit(_with_logs("error")), _write_by_hand()


def _with_logs(level: Level) -> EventManager:
    manager = EventManager()
    LogSubscriber(logger=_logger(), level=level).connect(manager)
    return manager


def _emit(manager: EventManager) -> Snippet:
    return Snippet("emit(end)", emit=manager.emit, end=events_of_a_get()["end"])


def _get_and_write() -> Snippet:
    """Return a get and its line, less the get: so the line is written among other work, too."""
    manager = EventManager()
    code = f"store.get_data('key').read(){WRITE_BY_HAND}"
    end = events_of_a_get()["end"]
    return Snippet(code, less=get(manager), store=store_on(manager), log=_logger().bind(), end=end)


def _write_by_hand() -> Snippet:
    return Snippet(WRITE_BY_HAND, log=_logger().bind(), end=events_of_a_get()["end"])


def _logger() -> Any:
    opened = open_logger(Path(mkdtemp()) / "log")
    atexit.register(opened.__exit__, None, None, None)
    return opened.__enter__()
