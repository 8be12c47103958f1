"""The command `encore replay`: what it shows of a recording, in this process and in one of its own."""

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
from tests.cli.support import LONG, SlowLog, done, log_lines, start


@pytest.fixture
def recording(tmp_path: Path, manager: EventManager) -> Path:
    """Two values that were stored, and one that was missing."""
    path = tmp_path / "incident.jsonl"
    with Recorder(path).connect(manager):
        store = DictMemoryStore(name="archive", event_manager=manager)
        store.from_bytes("a", b"x" * 1000)
        store.from_bytes("b", b"y" * 1000)
        with pytest.raises(KeyError):
            store.get_data("nothing")
    return path


def slow(path: Path) -> Path:
    """A recording of two operations, and a third one a day later."""
    manager = EventManager()
    with EventRecorder(manager, StoreProgressEndEvent) as recorder:
        for key in ("a", "b", "c"):
            DictMemoryStore(name="archive", event_manager=manager).from_bytes(key, b"x")
    times = (1790000000.0, 1790000000.0, 1790086400.0)
    lines = [EventCodec().encode(event, time=at) for event, at in zip(recorder.events, times, strict=True)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_a_recording_is_shown_as_it_was(encore: Encore, recording: Path, tmp_path: Path) -> None:
    told = encore("replay", recording, "--log-file", tmp_path / "again.log")

    assert (told.status, told.err) == (0, "")
    table = [line.split() for line in told.out.splitlines()]
    assert ["archive", "set", "2", "0", "0", "2.0", "kB"] in [row[:7] for row in table]
    assert ["archive", "get", "1", "1", "0"] in [row[:5] for row in table]
    assert told.last_line.startswith("replayed: 8 events, ")
    assert [line["key"] for line in log_lines(tmp_path / "again.log")] == ["a", "b"]


def test_the_figures_are_by_the_time_that_it_took_when_it_was_recorded(encore: Encore, tmp_path: Path) -> None:
    told = encore("replay", slow(tmp_path / "slow.jsonl"), "--speed", "inf")

    assert told.last_line == "replayed: 3 events, 86400.0 s of the recording"
    assert "in 86400.0 s" in told.out


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_long_pause_is_told_on_a_terminal(
    encore: Encore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("encore_storage.cli.replay.time.sleep", waits.append)
    monkeypatch.setenv("FORCE_COLOR", "1" if is_terminal else "")

    told = encore("replay", slow(tmp_path / "slow.jsonl"), "--speed", "10")

    (wait,) = waits
    assert 8630 < wait <= 8640
    said = re.search(r"nothing happened for a while: waiting 86\d\d\.\d s; a higher --speed waits less\n", told.out)
    assert (said is not None) == is_terminal


def test_events_without_a_time_are_counted(encore: Encore, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    about = {"specversion": "1.0", "source": "/a", "type": "x", "data": {}}
    path.write_text("".join(f"{json.dumps({**about, 'id': one})}\n" for one in "123"))

    assert encore("replay", path).last_line == "replayed: 3 events, 0 µs of the recording"


@pytest.mark.parametrize("lacks", ["duration", "bytes"])
def test_an_operation_of_which_little_was_recorded_ends_nothing(encore: Encore, tmp_path: Path, lacks: str) -> None:
    path = slow(tmp_path / "slow.jsonl")
    messages = [json.loads(line) for line in path.read_text().splitlines()]
    del messages[0]["data"][lacks]
    messages[1]["data"][lacks] = None
    path.write_text("".join(f"{json.dumps(message)}\n" for message in messages))

    told = encore("replay", path, "--speed", "inf")

    assert (told.status, told.err) == (0, "")
    assert told.last_line.startswith("replayed: 3 events")
    assert ["archive", "set", "1"] in [line.split()[:3] for line in told.out.splitlines()]
    assert "failures of subscribers, which the stores did not notice: 2" in told.out


def test_the_page_is_named_first(encore: Encore, recording: Path) -> None:
    told = encore("replay", recording, "--speed", "inf", "--port", "0")

    page, metrics = told.out.splitlines()[:2]
    assert re.fullmatch(r"page: http://127\.0\.0\.1:\d+/", page)
    assert metrics == f"metrics: {page.removeprefix('page: ')}metrics"


def test_a_recording_of_nothing_is_replayed(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()

    told = encore("replay", tmp_path / "empty.jsonl")

    assert (told.status, told.last_line) == (0, "replayed: 0 events, 0 µs of the recording")


def test_half_a_line_is_told(encore: Encore, recording: Path) -> None:
    with recording.open("ab") as file:
        file.write(b'{"specversion"')

    told = encore("replay", recording, "--speed", "inf")

    assert told.status == 0
    assert "incomplete lines, which a killed program has left: 1\n" in told.out


def test_what_cannot_be_replayed_is_one_line(encore: Encore, recording: Path, tmp_path: Path) -> None:
    missing, directory = tmp_path / "missing.jsonl", tmp_path / "directory"
    directory.mkdir()
    for path, sentence in (
        (missing, f"encore: {str(missing)!r} can't be read: there is no such file\n"),
        (directory, f"encore: {str(directory)!r} can't be read: Is a directory\n"),
    ):
        told = encore("replay", path)
        assert (told.status, told.err) == (1, sentence)
        assert "stopped" not in told.out


def test_a_malformed_line_is_named_after_what_came_before_it(encore: Encore, recording: Path) -> None:
    with recording.open("ab") as file:
        file.write(b"not an event\n")

    told = encore("replay", recording, "--speed", "inf")

    assert told.status == 1
    assert told.last_line.startswith("stopped: 8 events, ")
    assert told.err.startswith(f"encore: line 9 of {str(recording)!r} is not an event: the message is not JSON: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "fast"])
def test_a_speed_that_is_none_is_refused(encore: Encore, recording: Path, speed: str) -> None:
    told = encore("replay", recording, f"--speed={speed}")

    assert (told.status, told.out) == (2, "")
    assert "speed" in told.err
    assert told.err.endswith("see encore replay --help\n")


def test_failures_of_subscribers_are_not_counted_as_events_of_the_recording(
    encore: Encore, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "encore_storage.subscribers.summary.SummarySubscriber._operation_ended", lambda _self, _event: 1 / 0
    )

    told = encore("replay", recording, "--speed", "inf")

    assert told.last_line.startswith("replayed: 8 events, ")


def test_it_goes_on_serving_until_ctrl_c(recording: Path) -> None:
    process = start("replay", recording, "--keep-serving", interrupted=True)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        told = list(iter(process.stdout.readline, "serving until Ctrl-C\n"))
        page = told[0].removeprefix("page: ").strip()
        with urllib.request.urlopen(f"{page}metrics") as response:
            metrics = response.read().decode()
        with urllib.request.urlopen(f"{page}events?since=0") as response:
            first = next(line for line in response if line.startswith(b"data: "))
        os.killpg(process.pid, signal.SIGINT)
        assert (process.wait(LONG), process.stderr.read()) == (0, "")

    assert told[1] == f"metrics: {page}metrics\n"
    (changes,) = [line for line in metrics.splitlines() if "key_changes_total{" in line and 'action="set"' in line]
    assert changes.endswith(" 2.0")
    original = json.loads(recording.read_text().splitlines()[0])
    assert json.loads(first.removeprefix(b"data: ")) | {"id": None} == original | {"id": None}


def test_ctrl_c_ends_it_between_two_events(tmp_path: Path, slow_log: SlowLog) -> None:
    process = start("replay", slow(tmp_path / "slow.jsonl"), "--log-file", slow_log.path, interrupted=True)
    slow_log.wait_for("store.operation.ended", key="a")
    slow_log.wait_for("store.operation.ended", key="b")
    os.killpg(process.pid, signal.SIGINT)
    slow_log.drain()

    told = done(process)

    assert (told.status, told.err) == (130, "encore: interrupted\n")
    assert re.fullmatch(r"stopped: (1 event|2 events), 0 µs of the recording", told.last_line)


def test_the_recording_itself_is_no_log_file(encore: Encore, tmp_path: Path) -> None:
    path = tmp_path / "incident.jsonl"
    with Recorder(path).connect(manager := EventManager()):
        manager.emit(BaseEvent(word="hello"))
    before = path.read_bytes()

    done = encore("replay", path, "--log-file", path)

    assert done.status == 2
    assert "is the recording itself" in done.err
    assert path.read_bytes() == before


def test_a_device_is_no_recording(encore: Encore) -> None:
    done = encore("replay", "/dev/zero")

    assert done.status == 1
    assert done.err == "encore: '/dev/zero' can't be read: it is not a file\n"
