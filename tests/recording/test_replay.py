"""Reading and replaying recordings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.codec import EventCodec, GenericEvent
from encore_storage.events import StoreSetEvent
from encore_storage.recording import (
    MalformedRecordingError,
    Recorder,
    Recording,
    RecordingFileError,
    Replayed,
    replay,
)
from encore_storage.recording.files import LineFile
from tests.codec.support import Opened
from tests.recording.support import emit, write


class Clock:
    """A clock that only advances during `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.mark.parametrize(("speed", "expected"), [(1, [0, 2, 2.5, 62.5]), (5, [0, 0.4, 0.5, 12.5]), (math.inf, [0] * 4)])
def test_events_have_their_original_pauses(
    manager: EventManager, path: Path, speed: float, expected: list[float]
) -> None:
    clock, at = Clock(), list[float]()
    manager.connect(StoreSetEvent, lambda _: at.append(clock()))
    write(path, [1000, 1002, 1002.5, 1062.5])

    replayed = replay(path, manager, speed, sleep=clock.sleep, clock=clock)

    assert at == pytest.approx(expected)
    assert replayed == Replayed(events=4, seconds=62.5, skipped=0)


def test_slow_listener_delays_no_later_event(manager: EventManager, path: Path) -> None:
    clock, at = Clock(), list[float]()

    def slow(_event: StoreSetEvent) -> None:
        at.append(clock())
        clock.sleep(1.5)

    manager.connect(StoreSetEvent, slow)
    write(path, [1000, 1001, 1010])

    replay(path, manager, sleep=clock.sleep, clock=clock)

    assert at == [0, 1.5, 10]


def test_clock_set_back_adds_no_pause(manager: EventManager, path: Path) -> None:
    clock, at = Clock(), list[float]()
    manager.connect(StoreSetEvent, lambda _: at.append(clock()))
    write(path, [1000, 500, 1001])

    assert replay(path, manager, sleep=clock.sleep, clock=clock).seconds == 1
    assert at == [0, 0, 1]


def test_event_has_recorded_at_and_a_source(manager: EventManager, recorder: EventRecorder, path: Path) -> None:
    write(path, [1000.25])

    replay(path, manager)

    (event,) = recorder.events
    assert (vars(event)["recorded_at"], event.source.name) == (1000.25, "a")


def test_message_without_time_is_emitted_at_once(manager: EventManager, recorder: EventRecorder, path: Path) -> None:
    path.write_text('{"specversion":"1.0","id":"1","source":"/a","type":"acme.new"}\n')

    assert replay(path, manager) == (1, 0.0, 0)
    assert isinstance(recorder.events[0], GenericEvent)


def test_recorded_replay_has_the_original_times(manager: EventManager, path: Path) -> None:
    write(path, [1000.25, 1001])
    other = path.with_name("other.jsonl")

    with Recorder(other).connect(manager):
        replay(path, manager, math.inf)

    assert [message.time for message in Recording(other)] == [1000.25, 1001]


def test_custom_events_are_decoded_with_a_codec(manager: EventManager, recorder: EventRecorder, path: Path) -> None:
    codec = EventCodec(types={"acme.opened": Opened})
    with Recorder(path, codec=codec).connect(manager):
        manager.emit(Opened(door="front"))
    recorder.clear()

    replay(path, manager, codec=codec)

    assert recorder.one(Opened).door == "front"


def test_backups_come_first(manager: EventManager, recorder: EventRecorder, path: Path) -> None:
    for number in range(12):
        write(path.with_name(f"events.jsonl.{number}") if number else path, [1000.0 - number])
    for suffix in ("bak", "0", "01", "20261124", "1000", "\u0661"):
        path.with_name(f"events.jsonl.{suffix}").write_text("no recording")

    replay(path, manager, math.inf)

    assert [vars(event)["recorded_at"] for event in recorder.events] == [
        1000.0 - number for number in range(11, -1, -1)
    ]
    assert repr(Recording(path)) == f"<Recording of {str(path)!r}>"


def test_recorder_may_continue_while_a_recording_is_read(manager: EventManager, path: Path) -> None:
    with Recorder(path, max_bytes=1).connect(manager):
        emit(manager, 3)
    seen = list[str]()
    for message in Recording(path):
        seen.append(vars(message.event)["key"])
        with Recorder(path, max_bytes=1).connect(manager):
            emit(manager, 1, 3 + len(seen))

    assert seen == ["0000", "0001", "0002"]


def test_files_rotated_while_being_opened_are_opened_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [EventCodec().encode(StoreSetEvent(store="a", key=str(number))) + b"\n" for number in range(10)]
    file = LineFile(path, max_bytes=2 * len(lines[0]), backups=5)
    file.open()
    file.append(lines[:5])
    opened = 0

    def open_meanwhile(recording: Recording, place: Path) -> BinaryIO:
        nonlocal opened
        opened += 1
        if opened in {2, 4}:
            file.append(lines[5:8] if opened == 2 else lines[8:])
        return open_(recording, place)

    open_ = Recording._open
    monkeypatch.setattr(Recording, "_open", open_meanwhile)

    assert [vars(message.event)["key"] for message in Recording(path)] == [str(number) for number in range(10)]
    file.close()


def test_moment_without_a_file_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = write(path, [1.0]).read_bytes()
    pauses: list[float] = []

    def open_meanwhile(recording: Recording, place: Path) -> BinaryIO:
        opened = open_(recording, place)
        if not pauses:
            path.unlink()  # as a recorder without backups does
        return opened

    def recreate(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            path.write_bytes(line)

    open_ = Recording._open
    monkeypatch.setattr(Recording, "_open", open_meanwhile)
    monkeypatch.setattr("encore_storage.recording.recording.time.sleep", recreate)

    assert [message.time for message in Recording(path)] == [1.0]


def test_files_rotated_for_ever_raise_recording_file_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LineFile(write(path, [1.0]), max_bytes=1, backups=1)
    file.open()
    line = path.read_bytes()

    def open_meanwhile(recording: Recording, place: Path) -> BinaryIO:
        file.append([line])
        return open_(recording, place)

    open_ = Recording._open
    monkeypatch.setattr(Recording, "_open", open_meanwhile)

    with pytest.raises(RecordingFileError, match="moved aside faster than they can be opened"):
        list(Recording(path))
    file.close()


def test_first_line_that_is_no_json_object_is_malformed(path: Path) -> None:
    path.write_bytes(b"hello")

    with pytest.raises(MalformedRecordingError, match="line 1 of"):
        list(Recording(path))


@pytest.mark.parametrize("tail", [b'{"specversion":"1.', b"\x00" * 1000, b"{"])
def test_incomplete_last_line_is_skipped_and_counted(manager: EventManager, path: Path, tail: bytes) -> None:
    write(path, [1000, 1001], end=b"\n" + tail)

    assert replay(path, manager, math.inf) == (2, 1.0, 1)


def test_complete_last_line_without_newline_is_an_event(manager: EventManager, path: Path) -> None:
    write(path, [1000, 1001], end=b"")

    assert replay(path, manager, math.inf) == (2, 1.0, 0)


def test_blank_lines_are_skipped(manager: EventManager, path: Path) -> None:
    write(path, [1000], end=b"\n\n \r\n")

    assert replay(path, manager) == (1, 0.0, 0)


def test_malformed_line_is_named_after_earlier_events_were_emitted(
    manager: EventManager, recorder: EventRecorder, path: Path
) -> None:
    write(path, [1000, 1001], end=b'\n{"specversion":"0.3"}\n')

    with pytest.raises(MalformedRecordingError) as error:
        replay(path, manager, math.inf)

    reason = "specversion must be '1.0', not '0.3'"
    assert str(error.value) == f"line 3 of {str(path)!r} is not an event: {reason}"
    assert (error.value.path, error.value.line, error.value.reason) == (path, 3, reason)
    assert isinstance(error.value, ValueError)
    assert len(recorder.events) == 2


def test_unreadable_recording_raises_recording_file_error(manager: EventManager, path: Path) -> None:
    (path.parent / "directory").mkdir()
    for place, reason in (
        (path, "can't be read: there is no such file"),
        (path / "below" / "nothing", "can't be read: No such file or directory"),
        (path.parent / "directory", "can't be read: Is a directory"),
    ):
        with pytest.raises(RecordingFileError) as error:
            replay(place, manager)
        assert str(error.value) == f"{str(place)!r} {reason}"


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_speed_below_the_minimum_raises_value_error(manager: EventManager, path: Path, speed: float) -> None:
    with pytest.raises(ValueError, match=r"speed must be a number of at least 0\.001, not"):
        replay(path, manager, speed)


@pytest.mark.parametrize("speed", ["x", None, True])
def test_speed_of_another_type_raises_type_error(manager: EventManager, path: Path, speed: Any) -> None:
    with pytest.raises(TypeError, match=rf"speed must be a number of at least 0\.001, not {speed!r}"):
        replay(path, manager, speed)


def test_interrupt_ends_the_replay(manager: EventManager, recorder: EventRecorder, path: Path) -> None:
    def interrupted(_seconds: float) -> Any:
        raise KeyboardInterrupt

    write(path, [1000, 1001])

    with pytest.raises(KeyboardInterrupt):
        replay(path, manager, sleep=interrupted)

    assert len(recorder.events) == 1
