"""Programs killed while they record."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.recording import Recorder, Recording, replay
from tests.recording.support import emit

ROOT = Path(__file__).parents[2]
PROGRAMS = 6

BUSY = """
import itertools, sys, time
from encore_events import EventManager
from encore_storage.events import StoreSetEvent
from encore_storage.recording import Recorder

manager = EventManager()
Recorder(sys.argv[1], max_bytes=200_000, backups=100).connect(manager)
for number in itertools.count():
    manager.emit(StoreSetEvent(store="a", key=str(number)))
    print(number, time.time(), flush=True)
    time.sleep(0.0002)  # some thousand events a second
"""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[list[tuple[Path, subprocess.Popen[str]]]]:
    """Programs that record, and print the number and time of each event."""
    started = []
    for number in range(PROGRAMS):
        path = tmp_path / f"{number}.jsonl"
        command = [sys.executable, "-c", BUSY, str(path)]
        started.append((path, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)))
    yield started
    for _, process in started:
        process.kill()
        process.communicate()


def test_kill_loses_at_most_the_last_second(programs: list[tuple[Path, subprocess.Popen[str]]]) -> None:
    for place, (path, process) in enumerate(programs):
        assert process.stdout is not None
        printed, until = list[tuple[int, float]](), math.inf
        for line in process.stdout:
            number, at = line.split()
            printed.append((int(number), float(at)))
            until = min(until, printed[0][1] + 1.2 + place / 10)
            if printed[-1][1] > until:
                break
        killed = time.time()
        process.kill()
        process.wait()

        recorded = [int(vars(message.event)["key"]) for message in Recording(path)]

        assert recorded == list(range(len(recorded)))
        assert len(recorded) > max((number for number, at in printed if at < killed - 1), default=0)
        assert replay(path, EventManager(), math.inf).events == len(recorded)


def test_recording_resumes_after_a_kill(
    programs: list[tuple[Path, subprocess.Popen[str]]], manager: EventManager
) -> None:
    path, process = programs[0]
    assert process.stdout is not None
    while not path.exists() or not path.stat().st_size:
        process.stdout.readline()
    process.kill()
    process.wait()

    with Recorder(path).connect(manager):
        emit(manager, 1)

    assert [vars(message.event)["key"] for message in Recording(path)][-1] == "0000"


def test_program_that_exits_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    program = BUSY.replace("itertools.count()", "range(100)")

    subprocess.run([sys.executable, "-W", "error", "-c", program, str(path)], cwd=ROOT, check=True, capture_output=True)

    assert len(list(Recording(path))) == 100
