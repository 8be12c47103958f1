"""Log lines of operations, transactions and changed keys: fields and levels."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from encore_events import EventManager
from encore_storage.errors import InvalidMetadataError, KeyNotFoundError
from encore_storage.events import StoreProgressEvent, StoreTransactionEndEvent
from encore_storage.observing import StoreObserver
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import LogSubscriber
from tests.subscribers.support import BrokenSource, end, start, step

Line = dict[str, Any]


class ListLogger:
    """A logger that collects its lines."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def msg(self, **line: Any) -> None:
        self.lines.append(line)

    debug = info = warning = error = msg


class OlderBoundLogger(structlog.BoundLogger):
    """A wrapper of standard library loggers as in older versions of structlog, with the older method name."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (the name in the standard library)
        return bool(self._logger.isEnabledFor(level))


class NotingRedaction:
    """A redaction that changes nothing and records the keys."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str) -> str:
        self.keys.append(key)
        return key


@pytest.fixture
def restored_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def lines() -> list[Line]:
    return []


@pytest.fixture
def logger(lines: list[Line]) -> Any:
    """A structlog logger that collects the lines of all levels."""
    return collecting_logger(logging.NOTSET, lines)


@pytest.fixture
def logs(manager: EventManager, logger: Any) -> Iterator[LogSubscriber]:
    with LogSubscriber(logger=logger, level="debug").connect(manager) as logs:
        yield logs


def collecting_logger(level: int, lines: list[Line]) -> Any:
    target = ListLogger()
    target.lines = lines
    return structlog.wrap_logger(
        target,
        processors=[structlog.processors.add_log_level],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


def named(lines: list[Line], name: str) -> list[Line]:
    return [line for line in lines if line["event"] == name]


def only(lines: list[Line], name: str) -> Line:
    (line,) = named(lines, name)
    return line


def test_successful_operation_is_one_line_at_info(
    manager: EventManager, logs: LogSubscriber, lines: list[Line]
) -> None:
    manager.emit(end(key="a", transaction_id="t", bytes=10, duration=4.0))

    assert lines == [
        {
            "event": "store.operation.ended",
            "level": "info",
            "store": "archive",
            "operation": "get",
            "key": "a",
            "operation_id": "1",
            "transaction_id": "t",
            "bytes": 10,
            "duration": 4.0,
            "bytes_per_second": 2.5,
            "outcome": "ok",
            "error_type": None,
            "error": None,
        }
    ]


@pytest.mark.parametrize(
    ("outcome", "level"), [("ok", "info"), ("miss", "debug"), ("cancelled", "warning"), ("error", "error")]
)
def test_level_depends_on_the_outcome(
    manager: EventManager, logs: LogSubscriber, lines: list[Line], outcome: str, level: str
) -> None:
    manager.emit(end(outcome=outcome))

    assert only(lines, "store.operation.ended")["level"] == level


def test_ok_level_is_configurable(manager: EventManager, logger: Any, lines: list[Line]) -> None:
    with LogSubscriber(logger=logger, level="debug", ok_level="debug").connect(manager):
        manager.emit(end())

    assert only(lines, "store.operation.ended")["level"] == "debug"


def test_unknown_level_raises_value_error() -> None:
    with pytest.raises(ValueError, match="debug, info, warning, error, not 'loud'"):
        LogSubscriber(ok_level="loud")  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("attributes", [{"duration": 0.0}, {"bytes": 0}], ids=["no time", "no bytes"])
def test_unknown_speed_is_none(manager: EventManager, logs: LogSubscriber, lines: list[Line], attributes: Line) -> None:
    manager.emit(end(**attributes))

    assert only(lines, "store.operation.ended")["bytes_per_second"] is None


def test_error_has_message_type_and_traceback(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    with pytest.raises(InvalidMetadataError) as caught:
        store.set("a", (io.BytesIO(), {"tags": {1}}))

    line = only(lines, "store.operation.ended")
    assert (line["level"], line["error_type"], line["error"]) == ("error", "invalid", str(caught.value))
    assert line["exception"].startswith("Traceback (most recent call last):")
    assert line["exception"].endswith(str(caught.value))
    assert "exc_info" not in line  # a renderer might show it with local variables: values and metadata


def test_error_without_message_is_its_type(manager: EventManager, logs: LogSubscriber, lines: list[Line]) -> None:
    manager.emit(end(outcome="cancelled", error=asyncio.CancelledError()))

    line = only(lines, "store.operation.ended")
    assert line["error"] == "CancelledError"
    assert "exception" not in line


def test_miss_has_no_traceback(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    with pytest.raises(KeyNotFoundError):
        store.to_bytes("nowhere")

    line = only(lines, "store.operation.ended")
    assert (line["outcome"], line["error_type"]) == ("miss", "not_found")
    assert "exception" not in line


def test_starts_and_steps_are_logged_at_debug(manager: EventManager, logs: LogSubscriber, lines: list[Line]) -> None:
    manager.emit(start(key="a"))
    manager.emit(step(steps=40))

    identity = {"level": "debug", "store": "archive", "operation": "get", "operation_id": "1"}
    assert lines == [
        {"event": "store.operation.started", **identity, "key": "a"},
        {"event": "store.operation.progress", **identity, "bytes": 10, "bytes_expected": 40},
    ]


def test_changed_keys_are_logged_at_debug(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    store.from_bytes("a", b"1")
    store.from_bytes("a", b"2")
    store.delete("a")

    assert [line for line in lines if line["event"].startswith("store.key.")] == [
        {"event": f"store.key.{action}", "level": "debug", "store": "archive", "key": "a"}
        for action in ("set", "updated", "deleted")
    ]


def test_commit_has_notes_and_counts(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    with store.transaction("nightly") as transaction:
        store.from_bytes("a", b"1")
    line = only(lines, "store.transaction.committed")

    assert line.pop("duration") >= 0
    assert line == {
        "event": "store.transaction.committed",
        "level": "info",
        "store": "archive",
        "transaction_id": transaction.transaction_id,  # type: ignore[union-attr]  # this store has transactions
        "notes": "nightly",
        "operations": 1,
        "held": 1,
        "outcome": "committed",
    }
    assert only(lines, "store.key.set")["transaction_id"] == line["transaction_id"]


def test_rollback_is_a_warning_with_its_error(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    with pytest.raises(OSError, match="no more"), store.transaction():
        raise TimeoutError("no more")

    line = only(lines, "store.transaction.rolled_back")
    assert (line["level"], line["error"], line["error_type"]) == ("warning", "no more", "timeout")
    assert "exc_info" not in line


def test_interrupt_has_no_error_type(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        raise KeyboardInterrupt

    line = only(lines, "store.transaction.rolled_back")
    assert line["error"] == "KeyboardInterrupt"
    assert "error_type" not in line


def test_closed_transaction_is_logged_at_debug(manager: EventManager, logs: LogSubscriber, lines: list[Line]) -> None:
    transaction = StoreObserver("orders", event_manager=manager).transaction()
    transaction.start()
    transaction.end("closed")

    line = only(lines, "store.transaction.closed")
    assert (line["level"], line["outcome"], "error" in line) == ("debug", "closed", False)


def test_measures_are_logged_where_they_are_known(
    manager: EventManager, logs: LogSubscriber, lines: list[Line]
) -> None:
    observer = StoreObserver("s3:invoices", event_manager=manager)
    with observer.operation("get", "a") as operation:
        operation.attempts, operation.items, operation.first_byte, operation.fetched = 3, 0, 0.5, 4096
    line = only(lines, "store.operation.ended")
    assert (line["attempts"], line["items"], line["first_byte"], line["fetched"]) == (3, 0, 0.5, 4096)

    lines.clear()
    with observer.operation("get", "a"):
        pass
    assert not {"attempts", "items", "first_byte", "fetched"} & only(lines, "store.operation.ended").keys()


@pytest.mark.parametrize("outcome", ["commit_failed", "rollback_failed"])
def test_failed_commit_or_rollback_is_an_error_with_traceback(
    manager: EventManager, logs: LogSubscriber, lines: list[Line], outcome: str
) -> None:
    error = OSError("disk full")
    manager.emit(
        StoreTransactionEndEvent(
            store="archive", transaction_id="t", outcome=outcome, duration=1.0, operations=2, held=0, error=error
        )
    )

    line = only(lines, f"store.transaction.{outcome}")
    assert (line["level"], line["exception"]) == ("error", "OSError: disk full")


def test_values_and_metadata_are_never_logged(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    store.set("a", (io.BytesIO(b"s3cret"), {"password": "s3cret"}))
    assert store.to_bytes("a") == b"s3cret"
    assert store.get_metadata("a")
    with pytest.raises(OSError, match="broken"):
        store.set_data("a", BrokenSource(OSError("broken"), chunk=b"s3cret"))

    assert len(lines) > 8
    assert "s3cret" not in repr(lines)


def test_renderer_with_local_variables_shows_no_values(manager: EventManager, store: DictMemoryStore) -> None:
    stream = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=True)),
            structlog.processors.JSONRenderer(),
        ],
    )
    with LogSubscriber(logger=logger).connect(manager), pytest.raises(OSError, match="broken"):
        store.set("a", (BrokenSource(OSError("broken"), chunk=b"s3cret"), {"password": "s3cret"}))

    assert "store.operation.ended" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


def test_logs_ignore_a_veto_by_another_listener(
    manager: EventManager, logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]
) -> None:
    manager.connect(StoreProgressEvent, StoreProgressEvent.mark_as_handled, priority=1_000_000)

    store.exists("a")

    assert only(lines, "store.operation.ended")


def test_level_is_checked_before_the_line_is_built(manager: EventManager, lines: list[Line]) -> None:
    redaction = NotingRedaction()
    with LogSubscriber(logger=collecting_logger(logging.ERROR, lines), keys=redaction).connect(manager):
        store = DictMemoryStore(name="archive", event_manager=manager)
        with store.transaction():
            store.from_bytes("a", b"1")
        manager.emit(step(key="a"))
        assert redaction.keys == []

        with pytest.raises(OSError, match="broken"):
            store.set_data("b", BrokenSource(OSError("broken")))
        assert redaction.keys == ["b"]
    assert [line["level"] for line in lines] == ["error"]


@pytest.mark.parametrize("wrapper", [structlog.stdlib.BoundLogger, OlderBoundLogger])
def test_level_of_a_stdlib_logger_is_respected(manager: EventManager, wrapper: type[structlog.BoundLogger]) -> None:
    below = logging.getLogger(f"{__name__}.below")
    below.setLevel(logging.WARNING)
    logger = structlog.wrap_logger(below, wrapper_class=wrapper, processors=[])
    redaction = NotingRedaction()

    with LogSubscriber(logger=logger, keys=redaction).connect(manager):
        manager.emit(end(key="a"))

    assert redaction.keys == []


def test_logger_without_a_level_gets_every_line(manager: EventManager, lines: list[Line]) -> None:
    target = ListLogger()
    target.lines = lines
    logger = structlog.wrap_logger(target, processors=[], wrapper_class=structlog.BoundLogger)

    with LogSubscriber(logger=logger, level="debug").connect(manager):
        manager.emit(start())

    assert only(lines, "store.operation.started")


def test_default_logger_comes_from_structlog_at_connect(
    manager: EventManager, store: DictMemoryStore, restored_structlog: None
) -> None:
    logs = LogSubscriber(level="debug")
    with structlog.testing.capture_logs() as captured, logs.connect(manager):
        store.exists("a")

    assert [line["event"] for line in captured] == ["store.operation.started", "store.operation.ended"]


def test_logger_of_another_library_raises_type_error() -> None:
    with pytest.raises(TypeError, match=r"not a structlog logger: pass structlog\.wrap_logger"):
        LogSubscriber(logger=logging.getLogger("plain"))


def test_disconnected_subscriber_logs_nothing(logs: LogSubscriber, store: DictMemoryStore, lines: list[Line]) -> None:
    logs.disconnect()

    store.exists("a")

    assert lines == []


@pytest.mark.filterwarnings("ignore:Remove `format_exc_info`:UserWarning")  # of structlog before 26, of any traceback
@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_text_of_events_and_errors_forges_no_line_of_a_console(manager: EventManager, kind: type[Exception]) -> None:
    console = io.StringIO()
    renderer = structlog.dev.ConsoleRenderer(colors=False)
    logger = structlog.wrap_logger(structlog.PrintLogger(console), processors=[renderer])
    text = "a\nforged\r\x1b[2J\x9b"
    error = kind(text)
    error.add_note(text)
    error.__cause__ = ExceptionGroup(text, [kind(text)])
    with LogSubscriber(logger=logger).connect(manager):
        manager.emit(end(store=text, operation=text, key=text, operation_id=text, outcome="error", error=error))
        manager.emit(end(outcome=text, error_type=text))
        manager.emit(StoreTransactionEndEvent(store=text, transaction_id=text, notes=text, outcome=text, duration=1.0))

    lines = console.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("forged") for line in lines)
    assert sum("store.operation.ended" in line for line in lines) == 2
