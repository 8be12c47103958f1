"""The recorder: lines, files, rotation, errors."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from encore_events import (
    BaseEvent,
    EncoreError,
    EventManager,
    EventsDroppedEvent,
    ListenerErrorEvent,
    ManagerClosedError,
)
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.codec import EventCodec
from encore_storage.events import StoreSetEvent
from encore_storage.recording import Recorder, Recording, RecordingBusyError, RecordingFileError
from encore_storage.recording.files import LineFile
from tests.recording.support import emit, keys, lines, until, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_each_event_is_a_line(manager: EventManager, path: Path) -> None:
    with Recorder(path).connect(manager) as recorder:
        DictMemoryStore(name="archive", event_manager=manager).from_bytes("a", b"x")
        manager.emit(BaseEvent(word="hello"))

    assert [message["type"].rpartition(".")[2] for message in lines(path)] == ["started", "ended", "set", "BaseEvent"]
    assert (recorder.recorded, recorder.lost) == (4, 0)
    assert repr(recorder) == f"<Recorder of {str(path)!r}: 4 events, 0 lost>"


def test_relative_path_stays_where_it_was(
    manager: EventManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    recorder = Recorder("events.jsonl", max_bytes=1000)

    monkeypatch.chdir(tmp_path / "elsewhere")
    with recorder.connect(manager):
        for count in range(1, 11):
            emit(manager, 1)
            until(lambda count=count: recorder.recorded >= count)  # type: ignore[misc]

    assert recorder.path == tmp_path / "events.jsonl"
    assert len(Recording(recorder.path).files) > 1
    assert len(list(Recording(recorder.path))) == recorder.recorded
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_lines_are_written_while_connected(manager: EventManager, path: Path) -> None:
    with Recorder(path).connect(manager):
        emit(manager, 1)
        until(path.read_bytes)

        assert keys(path) == ["0000"]


def test_file_is_private_to_the_user(manager: EventManager, path: Path) -> None:
    before = os.umask(0)
    try:
        Recorder(path).connect(manager).disconnect()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_events_are_appended_to_an_existing_file(manager: EventManager, path: Path) -> None:
    for first in (0, 1):
        with Recorder(path).connect(manager):
            emit(manager, 1, first)

    assert keys(path) == ["0000", "0001"]


def test_codec_is_used(manager: EventManager, path: Path) -> None:
    with Recorder(path, codec=EventCodec(keys=False)).connect(manager):
        emit(manager, 1)

    assert keys(path) == []


def test_nothing_is_recorded_after_disconnect(manager: EventManager, path: Path) -> None:
    recorder = Recorder(path).connect(manager)
    recorder.disconnect()
    recorder.disconnect()
    emit(manager, 1)

    assert lines(path) == []
    assert not manager.has_listeners(BaseEvent)


def test_recorder_can_be_reconnected(manager: EventManager, path: Path) -> None:
    recorder = Recorder(path)
    for first in (0, 1):
        with recorder.connect(manager):
            emit(manager, 1, first)

    assert keys(path) == ["0000", "0001"]


def test_close_of_the_event_manager_loses_nothing(path: Path) -> None:
    manager = EventManager()
    with Recorder(path).connect(manager):
        emit(manager, 100)
        manager.close()
        until(lambda: len(lines(path)) == 100)


def test_full_file_is_rotated_between_lines(manager: EventManager, path: Path) -> None:
    with Recorder(path, max_bytes=1000, backups=3).connect(manager):
        emit(manager, 20)

    files = Recording(path).files
    assert [file.name for file in files] == ["events.jsonl.3", "events.jsonl.2", "events.jsonl.1", "events.jsonl"]
    assert all(0 < file.stat().st_size <= 1000 for file in files)
    numbers = [int(key) for file in files for key in keys(file)]
    assert numbers == list(range(numbers[0], 20))
    assert numbers[0] > 0


def test_files_are_rotated_across_runs(manager: EventManager, path: Path) -> None:
    for number in range(4):
        with Recorder(path, max_bytes=1, backups=2).connect(manager):
            emit(manager, 1, number)

    assert [keys(file) for file in Recording(path).files] == [["0001"], ["0002"], ["0003"]]


def test_rotation_stops_at_a_missing_backup(manager: EventManager, path: Path) -> None:
    for number in range(4):
        with Recorder(path, max_bytes=1, backups=3).connect(manager):
            emit(manager, 1, number)
    path.with_name("events.jsonl.2").unlink()

    with Recorder(path, max_bytes=1, backups=3).connect(manager):
        emit(manager, 1, 4)

    assert [keys(file) for file in Recording(path).files] == [["0000"], ["0002"], ["0003"], ["0004"]]


def test_rotation_without_backups_replaces_the_file(manager: EventManager, path: Path) -> None:
    with Recorder(path, max_bytes=1, backups=0).connect(manager):
        emit(manager, 3)

    assert [keys(file) for file in Recording(path).files] == [["0002"]]


def test_line_longer_than_max_bytes_has_its_own_file(manager: EventManager, path: Path) -> None:
    with Recorder(path, max_bytes=1000).connect(manager):
        for key in ("a", "b" * 2000, "c"):
            manager.emit(StoreSetEvent(store="a", key=key))

    assert [[key[0] for key in keys(file)] for file in Recording(path).files] == [["a"], ["b"], ["c"]]


def test_incomplete_line_stays_the_last_of_its_file(manager: EventManager, path: Path) -> None:
    write(path, [1.0, 2.0], end=b'\n{"specversion":"1.0","id":"cut o')
    before = path.read_bytes()

    with Recorder(path).connect(manager):
        emit(manager, 1)

    assert path.with_name("events.jsonl.1").read_bytes() == before
    recording = Recording(path)
    assert [vars(message.event)["key"] for message in recording] == ["0", "1", "0000"]
    assert recording.skipped == 1


def test_removed_file_is_made_again(manager: EventManager, path: Path) -> None:
    with Recorder(path).connect(manager) as recorder:
        emit(manager, 1)
        until(lambda: recorder.recorded == 1)
        path.rename(path.with_name("elsewhere"))
        emit(manager, 1, 1)
        until(lambda: recorder.recorded == 2)
        path.unlink()
        emit(manager, 1, 2)

    assert keys(path.with_name("elsewhere")) == ["0000"]
    assert keys(path) == ["0002"]


def test_second_recorder_of_a_file_raises_busy_error(manager: EventManager, path: Path) -> None:
    with Recorder(path).connect(manager):
        with pytest.raises(RecordingBusyError, match="is being recorded to by another recorder"):
            Recorder(path).connect(manager)
        emit(manager, 1)
    with Recorder(path).connect(manager):
        emit(manager, 1, 1)

    assert keys(path) == ["0000", "0001"]


FORKED = """
import os, sys, warnings
from pathlib import Path
from encore_storage.recording.errors import RecordingBusyError
from encore_storage.recording.files import LineFile

def is_free():
    other = LineFile(path, max_bytes=1, backups=1)
    try:
        other.open()
    except RecordingBusyError:
        return False
    other.close()
    return True

path = Path(sys.argv[1])
file = LineFile(path, max_bytes=1, backups=1)
file.open()
child_is_done, parent_is_done = os.pipe(), os.pipe()
for closes in (True, False):  # in the child
    if os.fork() == 0:
        if closes:
            file.close()
        os.write(child_is_done[1], b"x")
        os.read(parent_is_done[0], 1)
        os._exit(0)
    os.read(child_is_done[0], 1)
assert not is_free()
file.close()
assert is_free()
os.write(parent_is_done[1], b"xx")
os.wait(), os.wait()
"""


def test_close_of_a_line_file_is_idempotent(path: Path) -> None:
    file = LineFile(path, max_bytes=1, backups=1)
    file.open()
    file.close()
    file.close()

    assert path.exists()


def test_forked_children_neither_keep_nor_release_the_lock(path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FORKED, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_unusable_path_raises_recording_file_error(manager: EventManager, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("missing/events.jsonl", "can't be recorded to: No such file or directory"),
        ("", "can't be recorded to: Is a directory"),
        ("pipe", "can't be recorded to: it is not a file"),
        ("notes.txt", "contains something else than events: choose another file"),
    ):
        with pytest.raises(RecordingFileError) as error:
            Recorder(tmp_path / name).connect(manager)
        assert str(error.value) == f"{str(tmp_path / name)!r} {reason}"
        assert isinstance(error.value, OSError)
        assert isinstance(error.value, EncoreError)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not manager.has_listeners(BaseEvent)


EVENT = b'{"specversion":"1.0","id":"1","source":"/store","type":"io.encore.test"}\n'
FOREIGN = b'{"a": 1}\n'


@pytest.mark.parametrize(
    "content",
    [
        FOREIGN,
        FOREIGN.rstrip(),
        b'{\n  "a": 1\n}\n',
        FOREIGN + EVENT,
        EVENT + b"garbage\n",
        EVENT + FOREIGN + b"\n\n",
        EVENT + b"garbage\n" + b'{"half',
        EVENT + b"garbage" * 20_000 + b"\n",
    ],
    ids=range(8),
)
def test_file_of_something_else_is_refused_and_unchanged(content: bytes, manager: EventManager, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(RecordingFileError, match="contains something else than events: choose another file"):
        Recorder(path).connect(manager)

    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 (only names are needed)


@pytest.mark.parametrize(
    "content",
    [EVENT, EVENT * 3000, EVENT + b"\n\n", EVENT + EVENT.rstrip(), EVENT.rstrip(), b'{"half', b""],
    ids=range(7),
)
def test_file_of_events_is_accepted(content: bytes, manager: EventManager, path: Path) -> None:
    path.write_bytes(content)
    with Recorder(path).connect(manager):
        emit(manager, 1)

    assert b'"key":"0000"' in path.read_bytes().replace(b": ", b":").splitlines()[-1]


def test_incomplete_file_that_cannot_be_rotated_raises_until_it_can(manager: EventManager, path: Path) -> None:
    path.write_bytes(b'{"half')
    backup = path.with_name(f"{path.name}.1")
    backup.mkdir()
    recorder = Recorder(path, backups=1)
    for _ in range(2):
        with pytest.raises(RecordingFileError, match="can't be recorded to: Is a directory"):
            recorder.connect(manager)
    backup.rmdir()
    with recorder.connect(manager):
        emit(manager, 1)

    assert keys(path) == ["0000"]


def test_connect_to_a_closed_event_manager_releases_the_file(path: Path, manager: EventManager) -> None:
    closed = EventManager()
    closed.close()
    with pytest.raises(ManagerClosedError):
        Recorder(path).connect(closed)

    with Recorder(path).connect(manager):
        emit(manager, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": 0},
        {"max_bytes": "x"},
        {"max_bytes": 1.5},
        {"backups": -1},
        {"backups": 1000},
        {"backups": None},
        {"interval": 0},
        {"interval": 2},
        {"interval": "1"},
    ],
)
def test_number_out_of_range_raises_value_error(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Recorder(path, **options)


def redact(key: str) -> str:
    return f"{1 / int(key):.1f}"


def test_event_that_cannot_be_encoded_is_reported_and_others_are_recorded(
    manager: EventManager, recorder: EventRecorder, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Recorder(path, codec=EventCodec(keys=redact)).connect(manager) as recording:
        emit(manager, 2)

    (failed,) = recorder.of(ListenerErrorEvent)
    assert isinstance(failed.error, ZeroDivisionError)
    assert keys(path) == ["1.0"]
    assert recording.lost == 1
    assert "division by zero" in caplog.text


def test_listener_error_that_cannot_be_encoded_is_only_logged(
    manager: EventManager, recorder: EventRecorder, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Nameless:
        def __getattr__(self, name: str) -> str:
            raise ZeroDivisionError

    with Recorder(path).connect(manager) as recording:
        manager.emit(ListenerErrorEvent(event=BaseEvent(), listener=Nameless(), error=ValueError()))

    assert recording.lost == 1
    assert len(recorder.of(ListenerErrorEvent)) == 1
    assert "Recorder._consume" in caplog.text


def test_error_of_a_strict_manager_does_not_end_the_recording(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def failing(_event: ListenerErrorEvent) -> None:
        raise RuntimeError

    manager = EventManager(strict=True)
    with Recorder(path, codec=EventCodec(keys=redact)).connect(manager) as recording:
        manager.connect(ListenerErrorEvent, failing)
        manager.emit(StoreSetEvent(store="a", key="0"))
        until(lambda: recording.lost == 1)
        manager.disable(ListenerErrorEvent)
        manager.emit(StoreSetEvent(store="a", key="1"))

    assert keys(path) == ["1.0"]
    assert "RuntimeError" in caplog.text


def test_overflow_is_counted_and_recorded_in_its_place(
    manager: EventManager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encore_storage.subscribers.sink.WAITING", 10)
    with Recorder(path, interval=1).connect(manager) as recording:
        emit(manager, 1)
        until(lambda: recording.recorded == 1)  # now it waits for a second
        emit(manager, 100, 1)

    (dropped,) = [message["data"] for message in lines(path) if message["type"] == "encore.events.dropped"]
    assert dropped == {"queue": "recorder", "reason": "full", "count": 90}
    assert keys(path) == ["0000", *(f"{number:04}" for number in range(91, 101))]
    assert recording.lost == 90


def test_drops_of_another_recorder_are_not_its_own(manager: EventManager, path: Path) -> None:
    with Recorder(path).connect(manager) as recording:
        manager.emit(EventsDroppedEvent("another", queue="recorder", reason="disk", count=5))

    assert (recording.recorded, recording.lost) == (1, 0)


def test_recorder_without_errors_logs_nothing(
    manager: EventManager, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "encore_events"), Recorder(path).connect(manager):
        emit(manager, 3)

    assert caplog.records == []


def test_interrupted_disconnect_leaves_the_file_to_the_thread(
    manager: EventManager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_continue = threading.Event()

    class Slow(EventCodec):
        def encode(self, *arguments: Any, **options: Any) -> bytes:
            assert may_continue.wait(30)
            return super().encode(*arguments, **options)

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return wait(event, timeout)

    wait = threading.Event.wait
    recorder = Recorder(path, codec=Slow()).connect(manager)
    emit(manager, 3)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recorder.disconnect()
    may_continue.set()
    until(lambda: not any(thread.name == "encore-recorder" for thread in threading.enumerate()))

    assert keys(path) == ["0000", "0001", "0002"]
    another = LineFile(path, max_bytes=1, backups=1)
    another.open()
    another.close()


def test_connect_without_a_thread_releases_the_file(
    manager: EventManager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            Recorder(path).connect(manager)
    with Recorder(path).connect(manager):
        emit(manager, 1)

    assert keys(path) == ["0000"]
