"""`encore replay`, in this process and in a separate one."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.codec import EventCodec
from encore_storage.events import StoreProgressEndEvent
from encore_storage.recording import Recorder
from tests.cli.conftest import Encore
from tests.cli.support import TIMEOUT, SlowLog, finish, log_lines, start


@pytest.fixture
def recording(tmp_path: Path, manager: EventManager) -> Path:
    """A recording of two stored values and a missing one."""
    path = tmp_path / "incident.jsonl"
    with Recorder(path).connect(manager):
        store = DictMemoryStore(name="archive", event_manager=manager)
        store.from_bytes("a", b"x" * 1000)
        store.from_bytes("b", b"y" * 1000)
        with pytest.raises(KeyError):
            store.get_data("nothing")
    return path


def write_slow_recording(path: Path) -> Path:
    """Write a recording of two operations, and a third a day later."""
    manager = EventManager()
    with EventRecorder(manager, StoreProgressEndEvent) as recorder:
        for key in ("a", "b", "c"):
            DictMemoryStore(name="archive", event_manager=manager).from_bytes(key, b"x")
    times = (1790000000.0, 1790000000.0, 1790086400.0)
    lines = [EventCodec().encode(event, time=at) for event, at in zip(recorder.events, times, strict=True)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_replay_shows_operations_and_logs_them(encore: Encore, recording: Path, tmp_path: Path) -> None:
    result = encore("replay", recording, "--log-file", tmp_path / "again.log")

    assert (result.status, result.err) == (0, "")
    table = [line.split() for line in result.out.splitlines()]
    assert ["archive", "set", "2", "0", "0", "2.0", "kB"] in [row[:7] for row in table]
    assert ["archive", "get", "1", "1", "0"] in [row[:5] for row in table]
    assert result.last_line.startswith("replayed: 8 events, ")
    assert [line["key"] for line in log_lines(tmp_path / "again.log")] == ["a", "b"]


def test_summary_uses_recorded_time(encore: Encore, tmp_path: Path) -> None:
    result = encore("replay", write_slow_recording(tmp_path / "slow.jsonl"), "--speed", "inf")

    assert result.last_line == "replayed: 3 events, 86400.0 s of the recording"
    assert "in 86400.0 s" in result.out


@pytest.mark.parametrize("is_terminal", [True, False])
def test_long_pause_is_reported_on_a_terminal(
    encore: Encore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("encore_storage.cli.replay.time.sleep", waits.append)
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")

    result = encore("replay", write_slow_recording(tmp_path / "slow.jsonl"), "--speed", "10")

    (wait,) = waits
    assert 8630 < wait <= 8640
    note = re.search(r"the next event is 86\d\d\.\d s away; a higher --speed waits less\n", result.out)
    assert (note is not None) == is_terminal


def test_events_without_time_are_counted(encore: Encore, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    attributes = {"specversion": "1.0", "source": "/a", "type": "x", "data": {}}
    path.write_text("".join(f"{json.dumps({**attributes, 'id': one})}\n" for one in "123"))

    assert encore("replay", path).last_line == "replayed: 3 events, 0 µs of the recording"


@pytest.mark.parametrize("lacks", ["duration", "bytes"])
def test_incomplete_operations_do_not_stop_the_replay(encore: Encore, tmp_path: Path, lacks: str) -> None:
    path = write_slow_recording(tmp_path / "slow.jsonl")
    messages = [json.loads(line) for line in path.read_text().splitlines()]
    del messages[0]["data"][lacks]
    messages[1]["data"][lacks] = None
    path.write_text("".join(f"{json.dumps(message)}\n" for message in messages))

    result = encore("replay", path, "--speed", "inf")

    assert (result.status, result.err) == (0, "")
    assert result.last_line.startswith("replayed: 3 events")
    assert ["archive", "set", "1"] in [line.split()[:3] for line in result.out.splitlines()]
    assert "listener errors: 2" in result.out


def test_addresses_are_printed_first(encore: Encore, recording: Path) -> None:
    result = encore("replay", recording, "--speed", "inf", "--port", "0")

    page, metrics = result.out.splitlines()[:2]
    assert re.fullmatch(r"page: http://127\.0\.0\.1:\d+/", page)
    assert metrics == f"metrics: {page.removeprefix('page: ')}metrics"


def test_empty_recording_is_replayed(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()

    result = encore("replay", tmp_path / "empty.jsonl")

    assert (result.status, result.last_line) == (0, "replayed: 0 events, 0 µs of the recording")


def test_incomplete_last_line_is_reported(encore: Encore, recording: Path) -> None:
    with recording.open("ab") as file:
        file.write(b'{"specversion"')

    result = encore("replay", recording, "--speed", "inf")

    assert result.status == 0
    assert "incomplete lines, left by a program that was killed: 1\n" in result.out


def test_unreadable_recording_is_one_line(encore: Encore, recording: Path, tmp_path: Path) -> None:
    missing, directory = tmp_path / "missing.jsonl", tmp_path / "directory"
    directory.mkdir()
    for path, sentence in (
        (missing, f"encore: {str(missing)!r} can't be read: there is no such file\n"),
        (directory, f"encore: {str(directory)!r} can't be read: Is a directory\n"),
    ):
        result = encore("replay", path)
        assert (result.status, result.err) == (1, sentence)
        assert "stopped" not in result.out


def test_malformed_line_is_named_after_the_summary(encore: Encore, recording: Path) -> None:
    with recording.open("ab") as file:
        file.write(b"not an event\n")

    result = encore("replay", recording, "--speed", "inf")

    assert result.status == 1
    assert result.last_line.startswith("stopped: 8 events, ")
    assert result.err.startswith(f"encore: line 9 of {str(recording)!r} is not an event: the message is not JSON: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "fast"])
def test_invalid_speed_is_refused(encore: Encore, recording: Path, speed: str) -> None:
    result = encore("replay", recording, f"--speed={speed}")

    assert (result.status, result.out) == (2, "")
    assert "speed" in result.err
    assert result.err.endswith("see encore replay --help\n")


def test_listener_errors_are_not_counted_as_replayed_events(
    encore: Encore, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "encore_storage.subscribers.summary.SummarySubscriber._operation_ended", lambda _self, _event: 1 / 0
    )

    result = encore("replay", recording, "--speed", "inf")

    assert result.last_line.startswith("replayed: 8 events, ")


def test_keep_serving_serves_until_ctrl_c(recording: Path) -> None:
    process = start("replay", recording, "--keep-serving", interrupted=True)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        output = list(iter(process.stdout.readline, "serving until Ctrl-C\n"))
        page = output[0].removeprefix("page: ").strip()
        with urllib.request.urlopen(f"{page}metrics") as response:
            metrics = response.read().decode()
        with urllib.request.urlopen(f"{page}events?since=0") as response:
            first = next(line for line in response if line.startswith(b"data: "))
        os.killpg(process.pid, signal.SIGINT)
        assert (process.wait(TIMEOUT), process.stderr.read()) == (0, "")

    assert output[1] == f"metrics: {page}metrics\n"
    (changes,) = [line for line in metrics.splitlines() if "key_changes_total{" in line and 'action="set"' in line]
    assert changes.endswith(" 2")
    original = json.loads(recording.read_text().splitlines()[0])
    assert json.loads(first.removeprefix(b"data: ")) | {"id": None} == original | {"id": None}


def test_ctrl_c_ends_a_pause_between_events(tmp_path: Path, slow_log: SlowLog) -> None:
    process = start(
        "replay", write_slow_recording(tmp_path / "slow.jsonl"), "--log-file", slow_log.path, interrupted=True
    )
    slow_log.wait_for("store.operation.ended", key="a")
    slow_log.wait_for("store.operation.ended", key="b")
    os.killpg(process.pid, signal.SIGINT)
    slow_log.drain()

    result = finish(process)

    assert (result.status, result.err) == (130, "encore: interrupted\n")
    assert re.fullmatch(r"stopped: (1 event|2 events), 0 µs of the recording", result.last_line)


def test_recording_as_log_file_is_refused(encore: Encore, tmp_path: Path) -> None:
    path = tmp_path / "incident.jsonl"
    with Recorder(path).connect(manager := EventManager()):
        manager.emit(BaseEvent(word="hello"))
    before = path.read_bytes()

    result = encore("replay", path, "--log-file", path)

    assert result.status == 2
    assert "is the recording itself" in result.err
    assert path.read_bytes() == before


def test_device_is_not_a_recording(encore: Encore) -> None:
    result = encore("replay", "/dev/zero")

    assert result.status == 1
    assert result.err == "encore: '/dev/zero' can't be read: it is not a file\n"
