"""Recording to a disk that is full and recovers."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager, EventsDroppedEvent
from encore_events.testing import EventRecorder
from encore_storage.events import StoreSetEvent
from encore_storage.recording import Recorder, Recording, replay
from tests.recording.support import emit, keys, lines, until

ROOT = Path(__file__).parents[2]

FULL = """
import functools, json, os, resource, sys, threading
from encore_events import EventManager, EventsDroppedEvent
from encore_storage.recording import Recorder
from tests.recording import support
from tests.recording.support import until

limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
manager, drops, reported = EventManager(), [], threading.Event()
def on_drop(event):
    drops.append([event.queue, event.reason, event.count])
    reported.set()
manager.connect(EventsDroppedEvent, on_drop)
recorder = Recorder(sys.argv[1]).connect(manager)
emit = functools.partial(support.emit, manager)
emit(10, 0)
until(lambda: recorder.recorded == 10)
room = os.stat(sys.argv[1]).st_size + 100
resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # as if the disk were full
emit(100, 10)
assert reported.wait(30)
until(lambda: recorder.lost == 100)
emit(5, 110)
until(lambda: recorder.lost == 105)
reported.clear()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
emit(5, 115)
assert reported.wait(30)
recorder.disconnect()
json.dump({"drops": drops, "recorded": recorder.recorded, "lost": recorder.lost}, sys.stdout)
"""


def test_full_disk_is_reported_and_recording_resumes_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert [drop[:2] for drop in seen["drops"]] == [["recorder", "disk"], ["recorder", "disk"]]
    assert sum(drop[2] for drop in seen["drops"]) == seen["lost"] == 105
    numbers = [*range(10), *range(115, 120)]
    assert keys(path) == [f"{number:04}" for number in numbers]
    assert seen["recorded"] == 15
    (gap,) = [number for number, message in enumerate(lines(path)) if message["type"] == "encore.events.dropped"]
    assert (gap, lines(path)[gap]["data"]) == (10, {"queue": "recorder", "reason": "disk", "count": 105})
    assert replay(path, EventManager(), math.inf).events == 16


@pytest.fixture
def unrotatable(tmp_path: Path) -> Path:
    """A file that can't be rotated, because a directory has the name of its backup."""
    (tmp_path / "events.jsonl.1").mkdir()
    return tmp_path / "events.jsonl"


def test_failed_rotation_drops_events_until_it_succeeds(
    manager: EventManager, recorder: EventRecorder, unrotatable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "encore_events"),
        Recorder(unrotatable, max_bytes=1, backups=1).connect(manager) as recording,
    ):
        emit(manager, 1)
        until(lambda: recording.recorded == 1)
        emit(manager, 3, 1)
        until(lambda: recording.lost == 3)
        (unrotatable.parent / "events.jsonl.1").rmdir()
        emit(manager, 1, 4)

    assert [keys(file) for file in Recording(unrotatable).files] == [[], ["0004"]]
    assert sum(event.count for event in recorder.of(EventsDroppedEvent)) == recording.lost == 3
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "Is a directory" in caplog.text


def test_drops_at_the_end_are_reported_at_the_end(
    manager: EventManager, recorder: EventRecorder, unrotatable: Path
) -> None:
    with Recorder(unrotatable, max_bytes=1, backups=1).connect(manager) as recording:
        emit(manager, 1)
        until(lambda: recording.recorded == 1)
        emit(manager, 1, 1)
        until(lambda: recording.lost == 1)
        emit(manager, 1, 2)
        until(lambda: recording.lost == 2)

    assert sum(event.count for event in recorder.of(EventsDroppedEvent)) == 2
    assert keys(unrotatable) == ["0000"]


def test_listener_of_the_drop_may_end_the_recording(
    manager: EventManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "events.jsonl", os.write
    ended = threading.Event()

    def fails_once(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        raise OSError(errno.ENOSPC, "No space left on device")

    def end(_event: EventsDroppedEvent) -> None:
        emit(manager, 1, 1)  # is still written
        recording.disconnect()
        ended.set()

    recording = Recorder(path).connect(manager)
    manager.connect(EventsDroppedEvent, end)
    monkeypatch.setattr(os, "write", fails_once)
    emit(manager, 1)
    assert ended.wait(30)
    until(lambda: not any(thread.name == "encore-recorder" for thread in threading.enumerate()))

    assert keys(path) == ["0001"]
    with Recorder(path).connect(manager):
        emit(manager, 1, 2)
    assert keys(path) == ["0001", "0002"]


def test_drop_notice_is_written_by_the_recording_process_only(
    manager: EventManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"

    def fails(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    recording = Recorder(path).connect(manager)
    with monkeypatch.context() as full:
        full.setattr(os, "write", fails)
        emit(manager, 3)
        until(lambda: recording.lost == 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is intended
            child = os.fork()
    if child == 0:
        try:
            monkeypatch.undo()
            recording.disconnect()
            os._exit(0)
        finally:
            os._exit(1)  # otherwise the child would run the remaining tests, too
    assert os.waitpid(child, 0)[1] == 0
    recording.disconnect()

    assert [message["data"]["count"] for message in lines(path)] == [3]


def test_drop_is_harmless_without_listeners_and_with_failing_ones(
    unrotatable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_event: EventsDroppedEvent) -> None:
        raise ZeroDivisionError

    for connected in (False, True):
        manager = EventManager(strict=True)
        if connected:
            manager.connect(EventsDroppedEvent, failing)
        with Recorder(unrotatable, max_bytes=1, backups=1).connect(manager) as recording:
            manager.emit(StoreSetEvent(store="a", key="first"))
            manager.emit(StoreSetEvent(store="a", key="second"))
        assert recording.lost >= 1
    assert "could not report" in caplog.text


def test_incomplete_line_is_removed_even_if_that_fails_at_first(
    manager: EventManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "events.jsonl", os.write

    def half(fd: int, data: bytes) -> int:
        if path.stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:50])

    def fails(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Recorder(path).connect(manager) as recording:
        with monkeypatch.context() as full:
            full.setattr(os, "write", half)
            full.setattr(os, "ftruncate", fails)
            emit(manager, 1)
            until(lambda: recording.lost == 1)
        assert path.stat().st_size == 50
        emit(manager, 1, 1)

    assert [message["type"] for message in lines(path)] == ["encore.events.dropped", "encore.storage.key.set"]
    assert (recording.recorded, recording.lost) == (1, 1)
