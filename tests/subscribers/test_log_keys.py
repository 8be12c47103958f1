"""Log lines with hidden keys quote none: not in a field, not in an error, not in a traceback."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from encore_events import EventManager
from encore_storage.codec import EventCodec
from encore_storage.events import StoreKeyEvent, StoreSetEvent
from encore_storage.recording import Recorder
from encore_storage.redaction import Redaction
from encore_storage.server import EventFeed
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import LogSubscriber
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.logs import open_logger
from tests.subscribers.support import BrokenSource, end

KEY = "patients/jane"


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def log_everything(manager: EventManager, stream: io.StringIO, keys: bool | Redaction) -> str:
    """Return the log of operations on `KEY` that succeed, miss and fail."""
    with (
        open_logger(stream, level="debug") as logger,
        LogSubscriber(logger=logger, level="debug", keys=keys).connect(manager),
    ):
        store = DictMemoryStore(name="archive", event_manager=manager)
        store.from_bytes(KEY, b"1")
        store.from_bytes(KEY, b"2")
        for action in failing_actions(store):
            with pytest.raises(Exception):  # noqa: B017, PT011 (each raises another one; only the log matters)
                action()
        store.delete(KEY)
        manager.emit(end(key=KEY, outcome="error", error=FileNotFoundError(errno.ENOENT, "no such file", KEY)))
    return stream.getvalue()


def failing_actions(store: DictMemoryStore) -> Iterator[Callable[[], object]]:
    yield lambda: store.to_bytes(f"{KEY} twin")
    yield lambda: store.set_data(KEY, BrokenSource(OSError(f"cannot read {KEY}")))
    yield lambda: store.set_metadata(KEY, {KEY: {1, 2}})
    yield lambda: store.multiset_data([KEY, KEY], [io.BytesIO(), BrokenSource(KeyError(KEY))])


@pytest.mark.parametrize("keys", [False, lambda key: "#" * len(key)], ids=["omitted", "redacted"])
def test_hidden_key_is_nowhere_in_the_log(manager: EventManager, stream: io.StringIO, keys: bool | Redaction) -> None:
    text = log_everything(manager, stream, keys)

    assert len(text.splitlines()) > 12
    assert "jane" not in text


def test_key_is_logged_by_default(manager: EventManager, stream: io.StringIO) -> None:
    assert log_everything(manager, stream, keys=True).count("jane") > 12


def test_redacted_key_is_the_result_of_the_function(manager: EventManager, stream: io.StringIO) -> None:
    with open_logger(stream) as logger, LogSubscriber(logger=logger, keys=str.upper).connect(manager):
        manager.emit(end(key=KEY))
        manager.emit(end(key=None))

    named, nameless = stream.getvalue().splitlines()
    assert '"key": "PATIENTS/JANE"' in named
    assert '"key": null' in nameless


def test_failing_redaction_writes_nothing(
    manager: EventManager, stream: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    def redact(key: str) -> str:
        raise ZeroDivisionError

    with open_logger(stream) as logger, LogSubscriber(logger=logger, keys=redact).connect(manager):
        manager.emit(end(key=KEY))

    assert stream.getvalue() == ""
    assert "ZeroDivisionError" in caplog.text


def test_error_with_hidden_keys_has_the_system_message(manager: EventManager, stream: io.StringIO) -> None:
    error = FileNotFoundError(errno.ENOENT, f"no {KEY}", str(Path("/data") / KEY))
    with open_logger(stream) as logger, LogSubscriber(logger=logger, keys=False).connect(manager):
        manager.emit(end(outcome="error", error=error, error_type="not_found"))

    assert '"error": "FileNotFoundError: No such file or directory"' in stream.getvalue()


def test_notes_are_hidden_with_the_keys(manager: EventManager, stream: io.StringIO) -> None:
    store = DictMemoryStore(name="archive", event_manager=manager)
    with (
        open_logger(stream) as logger,
        LogSubscriber(logger=logger, keys=False).connect(manager),
        store.transaction(f"import of {KEY}"),
    ):
        pass

    assert "store.transaction.committed" in stream.getvalue()
    assert "jane" not in stream.getvalue()


def redact(key: str) -> str:
    raise ConnectionError(f"the vault is away for {key}")


def connect_logs(keys: bool | Redaction, _path: Path) -> Subscriber:
    return LogSubscriber(logger=structlog.wrap_logger(structlog.ReturnLogger()), keys=keys)


def connect_recorder(keys: bool | Redaction, path: Path) -> Subscriber:
    return Recorder(path / "events.jsonl", codec=EventCodec(keys=keys))


def connect_feed(keys: bool | Redaction, _path: Path) -> Subscriber:
    return EventFeed(keys=keys)


@pytest.mark.parametrize("keys", [False, redact], ids=["omitted", "failing"])
@pytest.mark.parametrize("make", [connect_logs, connect_recorder, connect_feed])
def test_hidden_key_is_in_no_report_of_a_failure(
    make: Callable[[bool | Redaction, Path], Subscriber],
    keys: bool | Redaction,
    manager: EventManager,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: StoreKeyEvent) -> None:
        raise OSError(f"no room for {event.key}")

    with make(keys, tmp_path).connect(manager):
        manager.connect(StoreSetEvent, fail)
        DictMemoryStore(name="archive", event_manager=manager).from_bytes(KEY, b"1")

    assert "fail failed for StoreSetEvent: OSError" in caplog.text
    assert "jane" not in caplog.text
