"""`open_logger`: JSON lines to a file, console lines to a stream."""

from __future__ import annotations

import ast
import io
import json
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from encore_events import EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.subscribers import LogSubscriber
from encore_storage.subscribers.logs import open_logger


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def log_failure(logger: Any, *, password: str) -> None:
    """Log an error with a password among the local variables."""
    try:
        raise OSError("disk full")
    except OSError as error:
        logger.error("failed", exc_info=error)
        assert password


def test_each_line_has_time_and_level(tmp_path: Path) -> None:
    with open_logger(tmp_path / "log.jsonl") as logger:
        logger.info("first", key="a\nb")
        logger.warning("second", bytes=1)

    first, second = read_lines(tmp_path / "log.jsonl")
    assert (first["event"], first["level"], first["key"]) == ("first", "info", "a\nb")
    assert (second["event"], second["level"], second["bytes"]) == ("second", "warning", 1)
    assert datetime.fromisoformat(first["timestamp"]).utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(first["timestamp"])) < timedelta(hours=1)


def test_line_is_written_at_once(tmp_path: Path) -> None:
    with open_logger(tmp_path / "log.jsonl") as logger:
        logger.info("now")

        assert len(read_lines(tmp_path / "log.jsonl")) == 1


def test_lines_are_appended_to_an_existing_file(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with open_logger(str(tmp_path / "log.jsonl")) as logger:
            logger.info(name)

    assert [line["event"] for line in read_lines(tmp_path / "log.jsonl")] == ["first", "second"]


def test_file_is_closed_with_the_block(tmp_path: Path) -> None:
    with open_logger(tmp_path / "log.jsonl") as logger:
        logger.info("before")

    with pytest.raises(ValueError, match="closed file"):
        logger.info("after")


def test_stream_stays_open() -> None:
    stream = io.StringIO()
    with open_logger(stream):
        pass

    assert not stream.closed


def test_exception_is_part_of_the_line_without_local_variables(tmp_path: Path) -> None:
    with open_logger(tmp_path / "log.jsonl") as logger:
        log_failure(logger, password="s3cret")

    (line,) = read_lines(tmp_path / "log.jsonl")
    (exception,) = line["exception"]
    assert (exception["exc_type"], exception["exc_value"]) == ("OSError", "disk full")
    assert exception["frames"][-1]["name"] == "log_failure"
    assert "s3cret" not in json.dumps(line)


def test_lines_of_many_threads_never_interleave(tmp_path: Path) -> None:
    with open_logger(tmp_path / "log.jsonl") as logger, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: logger.info("line", text=str(number) * 500), range(1000)))

    texts = {line["text"] for line in read_lines(tmp_path / "log.jsonl")}
    assert texts == {str(number) * 500 for number in range(1000)}


def test_lines_below_the_level_are_not_written(tmp_path: Path) -> None:
    with open_logger(tmp_path / "log.jsonl", level="warning") as logger:
        logger.info("unimportant")

    assert read_lines(tmp_path / "log.jsonl") == []


def test_unknown_level_raises_before_the_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"

    with pytest.raises(ValueError, match="not 'loud'"):
        open_logger(path, level="loud").__enter__()  # type: ignore[arg-type]  # the point of the test
    assert not path.exists()


def test_console_format_has_a_readable_traceback() -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger:
        log_failure(logger, password="s3cret")

    text = stream.getvalue()
    assert "[error    ] failed" in text
    assert "Traceback (most recent call last)" in text
    assert "OSError: disk full" in text
    assert "s3cret" not in text


def test_key_cannot_forge_a_line_or_control_the_terminal() -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger:
        logger.info("store.key.set", key="a\n2025-01-01 [error] forged")
        logger.info("store.key.set", key="\x1b[2J")

    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()


def test_console_escapes_the_text_of_an_event_once(store: DictMemoryStore, manager: EventManager) -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger, LogSubscriber(logger=logger).connect(manager):
        store.from_bytes("a\nb", b"1")
        store.from_bytes("c:\\d", b"1")
        store.from_bytes("it's ä", b"1")

    first, second, third = stream.getvalue().splitlines()
    assert r"key='a\nb' " in first
    assert r"key='c:\d' " in second
    assert 'key="it\'s ä" ' in third


@pytest.mark.parametrize("key", ["b' outcome='ok", 'b" outcome="ok', r"""b\" 'c outcome=ok"""])
def test_console_text_cannot_forge_a_field(key: str) -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger:
        logger.info("store.key.set", key=key, outcome="miss")

    shown = stream.getvalue().partition(" key=")[2].removesuffix(" outcome='miss'\n")
    assert ast.literal_eval(shown) == key


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Yield a function that limits the size of files, as if the disk were full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("as_stream", [False, True])
def test_subscriber_reports_a_full_disk_once_until_there_is_room(
    tmp_path: Path,
    store: DictMemoryStore,
    manager: EventManager,
    recorder: EventRecorder,
    file_limit: Callable[[int], None],
    *,
    as_stream: bool,
) -> None:
    path = tmp_path / "log.jsonl"
    with path.open("a") as stream, suppress(OSError), open_logger(stream if as_stream else path) as logger:
        LogSubscriber(logger=logger).connect(manager)
        for size in (0, 10**6, 0):
            file_limit(size)
            for _ in range(5):
                store.from_bytes("a", b"1")
        file_limit(10**6)

    errors = [str(event.error) for event in recorder.of(ListenerErrorEvent)]
    assert len(errors) == 2
    assert all("File too large" in error and (as_stream or str(path) in error) for error in errors)


def test_open_logger_does_not_configure_structlog(tmp_path: Path) -> None:
    before = structlog.is_configured(), structlog.get_config()
    with open_logger(tmp_path / "log.jsonl") as logger:
        logger.info("one")

    assert (structlog.is_configured(), structlog.get_config()) == before
