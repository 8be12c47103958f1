"""The volume of a log: levels, slow operations and samples."""

from __future__ import annotations

import io
import logging
import math
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.monitoring import monitor
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import LogSubscriber
from tests.subscribers.support import BrokenSource, end

FAILURES = ["error", "cancelled", "failed"]  # the last one is a program's own


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def logger(lines: list[dict[str, Any]]) -> Any:
    """A structlog logger that keeps the lines of all levels."""

    def keep(_logger: object, method: str, line: Any) -> Any:
        lines.append({**line, "level": method})
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep], wrapper_class=structlog.BoundLogger)


def transaction(outcome: str, duration: float = 0.01) -> StoreTransactionEndEvent:
    ids: dict[str, Any] = {"store": "archive", "transaction_id": "t"}
    return StoreTransactionEndEvent(**ids, outcome=outcome, duration=duration, operations=1, held=0, error=None)


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return [int(line["operation_id"]) for line in lines]


def test_debug_lines_are_logged_only_on_request(
    manager: EventManager, store: DictMemoryStore, logger: Any, lines: list[dict[str, Any]]
) -> None:
    with LogSubscriber(logger=logger).connect(manager):
        store.from_bytes("a", b"1")
    assert [line["event"] for line in lines] == ["store.operation.ended"]

    with LogSubscriber(logger=logger, level="debug").connect(manager):
        store.from_bytes("a", b"1")
    assert [line["event"] for line in lines[1:]] == [
        "store.operation.started",
        "store.operation.ended",
        "store.key.updated",
    ]


def test_structlog_without_a_configuration_prints_no_debug_lines() -> None:
    program = """
from encore_storage import DictMemoryStore, monitor
monitor(metrics=False)
store = DictMemoryStore(name="archive")
store.from_bytes("a", b"1")
try:
    store.to_bytes("b")
except KeyError:
    pass
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.count("\n") == 1
    assert "store.operation.ended" in printed


@pytest.mark.parametrize(("level", "expected"), [("info", 4), ("warning", 3), ("error", 1)])
def test_level_is_the_lowest_that_is_logged(
    manager: EventManager, logger: Any, lines: list[dict[str, Any]], level: Any, expected: int
) -> None:
    with LogSubscriber(logger=logger, level=level).connect(manager):
        for outcome in ("ok", "miss", "cancelled", "error"):
            manager.emit(end(outcome=outcome))
        manager.emit(transaction("rolled_back"))

    assert len(lines) == expected


def test_slow_logs_what_took_that_long(manager: EventManager, logger: Any, lines: list[dict[str, Any]]) -> None:
    with LogSubscriber(logger=logger, slow=0.5).connect(manager):
        for number, duration in enumerate((0.1, 0.5, 2.0)):
            manager.emit(end(operation_id=str(number), duration=duration))
        manager.emit(transaction("committed", 0.1))
        manager.emit(transaction("committed", 0.6))

    assert [line.get("operation_id", line["outcome"]) for line in lines] == ["1", "2", "committed"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 100),
        ({"slow": 0}, 100),
        ({"slow": 1}, 0),
        ({"slow": math.inf}, 0),
        ({"sample": 1}, 100),
        ({"sample": 0}, 0),
        ({"sample": 0.07}, 7),
        ({"sample": 0.29}, 29),
        ({"sample": 0.999}, 99),
        ({"sample": 1e-9}, 1),
        ({"slow": 1, "sample": 0.1}, 10),
        ({"slow": 0, "sample": 0.1}, 100),
    ],
)
def test_sample_is_exact(
    manager: EventManager, logger: Any, lines: list[dict[str, Any]], options: dict[str, Any], expected: int
) -> None:
    with LogSubscriber(logger=logger, **options).connect(manager):
        for number in range(100):
            manager.emit(end(operation_id=str(number), duration=0.1))

    assert len(lines) == expected


def test_sample_is_evenly_spaced_from_the_first_on(
    manager: EventManager, logger: Any, lines: list[dict[str, Any]]
) -> None:
    with LogSubscriber(logger=logger, sample=0.25).connect(manager):
        for number in range(10):
            manager.emit(end(operation_id=str(number)))

    assert numbers(lines) == [0, 4, 8]


def test_sample_counts_each_operation_on_its_own(
    manager: EventManager, logger: Any, lines: list[dict[str, Any]]
) -> None:
    with LogSubscriber(logger=logger, sample=0.5, level="debug").connect(manager):
        for number in range(30):  # the outcomes and operations take turns, as in a loop of a program
            manager.emit(end(operation=("get", "set", "own")[number % 3], outcome=("ok", "miss")[number % 2]))
            manager.emit(transaction("committed"))

    found = Counter((line.get("operation"), line["outcome"]) for line in lines if "bytes" in line)
    assert found == {(name, outcome): 3 for name in ("get", "set", "own") for outcome in ("ok", "miss")}
    assert sum(line["event"] == "store.transaction.committed" for line in lines) == 15


def test_slow_operations_are_not_counted_for_the_sample(
    manager: EventManager, logger: Any, lines: list[dict[str, Any]]
) -> None:
    with LogSubscriber(logger=logger, slow=1, sample=0.5).connect(manager):
        for number, duration in enumerate((0.1, 2.0, 0.1, 2.0, 0.1)):
            manager.emit(end(operation_id=str(number), duration=duration))

    assert numbers(lines) == [0, 1, 3, 4]


@pytest.mark.parametrize("options", [{"slow": 60}, {"sample": 0}, {"slow": math.inf, "sample": 0.0}])
def test_failures_are_always_logged(
    manager: EventManager, logger: Any, lines: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    with LogSubscriber(logger=logger, **options).connect(manager):
        for outcome in FAILURES:
            manager.emit(end(outcome=outcome))
        for outcome in ("rolled_back", "commit_failed", "rollback_failed"):
            manager.emit(transaction(outcome))

    assert [line["outcome"] for line in lines] == [*FAILURES, "rolled_back", "commit_failed", "rollback_failed"]


def test_threads_share_a_sample(manager: EventManager, logger: Any, lines: list[dict[str, Any]]) -> None:
    with LogSubscriber(logger=logger, sample=0.1).connect(manager), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: manager.emit(end(operation_id=str(number))), range(200)))

    assert len(lines) == 20


BAD = [
    ("level", "loud", ValueError, "must be one of debug, info, warning, error, not 'loud'"),
    ("level", logging.INFO, ValueError, "must be one of debug, info, warning, error, not 20"),
    ("level", [], ValueError, r"must be one of debug, info, warning, error, not \[\]"),
    ("slow", -1, ValueError, "must be at least 0 seconds, not -1"),
    ("slow", math.nan, ValueError, "must be at least 0 seconds, not nan"),
    ("slow", "1", TypeError, "must be a number of seconds, such as 0.5, or None, not '1'"),
    ("slow", True, TypeError, "must be a number of seconds, such as 0.5, or None, not True"),
    ("sample", 1.5, ValueError, "must be a share from 0 to 1, such as 0.01, not 1.5"),
    ("sample", -0.1, ValueError, "must be a share from 0 to 1, such as 0.01, not -0.1"),
    ("sample", math.nan, ValueError, "must be a share from 0 to 1, such as 0.01, not nan"),
    ("sample", "10%", TypeError, "must be a share from 0 to 1, such as 0.01, or None, not '10%'"),
    ("sample", False, TypeError, "must be a share from 0 to 1, such as 0.01, or None, not False"),
]


@pytest.mark.parametrize(("option", "value", "error", "message"), BAD)
def test_bad_options_are_refused(option: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{option} {message}"):
        LogSubscriber(**{option: value})


@pytest.mark.parametrize("logs", [True, False, "logging"])
@pytest.mark.parametrize(("option", "value", "error", "message"), BAD)
def test_monitor_refuses_bad_options(
    manager: EventManager, logs: Any, option: str, value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^log_{option} {message}"):
        monitor(manager, logs=logs, metrics=False, **{f"log_{option}": value})

    assert repr(manager) == "<EventManager: 0 listeners>"


def test_monitor_passes_its_options_on(
    manager: EventManager, store: DictMemoryStore, logger: Any, lines: list[dict[str, Any]]
) -> None:
    options: dict[str, Any] = {"logs": logger, "metrics": False}
    with monitor(manager, log_level="debug", **options):
        store.from_bytes("a", b"1")
    assert {line["level"] for line in lines} == {"debug", "info"}

    lines.clear()
    with monitor(manager, log_slow=60, **options):
        store.from_bytes("a", b"1")
        with pytest.raises(OSError, match="broken"):
            store.set_data("a", BrokenSource(OSError("broken")))
    assert [line["outcome"] for line in lines] == ["error"]

    lines.clear()
    with monitor(manager, log_sample=0.1, **options):
        for _ in range(20):
            store.from_bytes("a", b"1")
    assert len(lines) == 2


@pytest.mark.parametrize("options", [{"log_level": "debug"}, {"log_slow": 1}, {"log_sample": 0.5}])
def test_monitor_refuses_options_that_a_subscriber_has(manager: EventManager, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="no effect on <LogSubscriber: not connected>: pass level, slow and sample"):
        monitor(manager, logs=LogSubscriber(), metrics=False, **options)

    assert repr(manager) == "<EventManager: 0 listeners>"


def test_standard_logger_gets_a_line_and_the_fields_of_an_operation(
    manager: EventManager, store: DictMemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "encore_storage")
    with monitor(manager, logs="logging", registry=CollectorRegistry()):
        store.from_bytes('a "b"\n%s', b"hello")

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("encore_storage", "INFO")
    message = record.getMessage()
    assert message.startswith(r'store.operation.ended store=archive operation=set key="a \"b\"\\n%s" operation_id=')
    assert " bytes=5 duration=" in message
    assert message.endswith(" outcome=ok")
    assert (record.__dict__["store"], record.__dict__["bytes"], record.__dict__["key"]) == (
        *("archive", 5),
        'a "b"\\n%s',
    )


def test_standard_logger_gets_failures_with_a_traceback(
    manager: EventManager, store: DictMemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        monitor(manager, logs="logging", metrics=False),
        pytest.raises(OSError, match="disk"),
        store.transaction("import"),
    ):
        store.set_data("a", BrokenSource(OSError("disk\nfull")))

    assert [(record.levelname, record.__dict__["error"]) for record in caplog.records] == [
        ("ERROR", r"disk\nfull"),
        ("WARNING", r"disk\nfull"),
    ]
    first, *others = caplog.records[0].getMessage().splitlines()
    assert first.endswith(r"error_type=other error=disk\nfull")
    assert others[0] == "Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in others[1:])


def test_level_of_the_standard_logger_is_respected(
    manager: EventManager, store: DictMemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "encore_storage")
    with monitor(manager, logs="logging", log_level="debug", metrics=False):
        store.from_bytes("a", b"1")
        assert caplog.records == []

        caplog.set_level(logging.DEBUG, "encore_storage")
        with pytest.raises(KeyNotFoundError):
            store.to_bytes("b")

    assert [record.__dict__.get("outcome") for record in caplog.records] == [None, "miss"]


def test_formatter_of_the_program_writes_each_line(manager: EventManager, store: DictMemoryStore) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(store)s:%(bytes)s"))
    target = logging.getLogger("encore_storage")
    target.addHandler(handler)
    target.setLevel(logging.INFO)
    try:
        with monitor(manager, logs="logging", metrics=False):
            store.from_bytes("a", b"1")
    finally:
        target.removeHandler(handler)
        target.setLevel(logging.NOTSET)

    assert stream.getvalue() == "INFO:encore_storage:archive:1\n"
