"""Recording in a program that forks: the file belongs to the parent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forking import FORKS, run_forking

BEGIN = """
import fcntl, json, os, signal, sys, threading, time
from pathlib import Path
from encore_events import BaseEvent, EventManager
from encore_storage.codec import EventCodec
from encore_storage.events import StoreSetEvent
from encore_storage.recording import Recorder
from encore_storage.recording.files import LineFile
from tests.forking import *

path = Path(sys.argv[1])

def emit(*keys):
    for key in keys:
        manager.emit(StoreSetEvent(store="a", key=key))

def keys(path=path):
    return [json.loads(line)["data"]["key"] for line in path.read_bytes().splitlines()]

def is_free():
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

manager = EventManager()
"""


def run(program: str, path: Path) -> list[str]:
    return run_forking(BEGIN + program, path)


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("ending", ["recorder.disconnect()", "manager.close()", "recorder._file.close()", "None"])
def test_file_stays_the_parents(tmp_path: Path, ending: str, kind: str) -> None:
    printed = run(
        f"""
recorder = Recorder(path, interval=0.5, max_bytes=2000, backups=1).connect(manager)
emit("before")
until(lambda: recorder.recorded == 1)
emit("waits")
def work():
    emit(*("child" * 20 for _ in range(100)))
    {ending}
    return keys(), is_free()
print(forked(work, FORKS[{kind!r}]))
print(is_free())
emit("after")
recorder.disconnect()
print(keys(), is_free())
""",
        tmp_path / "events.jsonl",
    )

    assert printed == ["(['before'], False)", "False", "['before', 'waits', 'after'] True"]


def test_exit_of_a_child_writes_nothing(tmp_path: Path) -> None:
    printed = run(
        """
recorder = Recorder(path, interval=1).connect(manager)
emit("first")
if (child := fork()) == 0:
    signal.alarm(SECONDS)
    emit("child")
    sys.exit(0)
print(os.waitpid(child, 0)[1], is_free())
recorder.disconnect()
print(keys())
""",
        tmp_path / "events.jsonl",
    )

    assert printed == ["0 False", "['first']"]


def test_child_that_outlives_its_parent_does_not_lock_the_file(tmp_path: Path) -> None:
    printed = run(
        """
ready, ends = os.pipe(), os.pipe()
if (parent := fork()) == 0:
    recorder = Recorder(path).connect(manager)
    if fork() == 0:
        signal.alarm(SECONDS)
        os.close(ends[1])
        os.write(ready[1], b"x")
        os.read(ends[0], 1)
        os._exit(0)
    signal.pause()
os.read(ready[0], 1)
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
print(is_free())
os.close(ends[1])
""",
        tmp_path / "events.jsonl",
    )

    assert printed == ["True"]


def test_child_may_record_to_its_own_file(tmp_path: Path) -> None:
    printed = run(
        """
recorder = Recorder(path).connect(manager)
unused = Recorder(path.with_name("unused.jsonl"))
def work():
    with Recorder(path.with_name("own.jsonl")).connect(manager), unused.connect(manager):
        emit("child")
    return keys(path.with_name("own.jsonl")), keys(path.with_name("unused.jsonl"))
print(forked(work))
recorder.disconnect()
def work_again():
    recorder.disconnect()
    with recorder.connect(manager):
        emit("later")
    return keys()
print(forked(work_again))
""",
        tmp_path / "events.jsonl",
    )

    assert printed == ["(['child'], ['child'])", "['later']"]


def test_reused_descriptor_of_a_child_is_not_closed(tmp_path: Path) -> None:
    printed = run(
        """
recorder = Recorder(path).connect(manager)
number = recorder._file._fd
def work():
    os.close(number)  # as daemons do with all descriptors, before the fork is detected
    own = os.open(path.with_name("own"), os.O_RDWR | os.O_CREAT)
    os.dup2(own, number)
    recorder.disconnect()
    return os.write(number, b"own")
print(forked(work, fork_without_hooks))
recorder.disconnect()
""",
        tmp_path / "events.jsonl",
    )

    assert printed == ["3"]


def test_redaction_that_forks_records_each_event_once(tmp_path: Path) -> None:
    printed = run(
        """
children = []
def redact(key):
    if not children:
        children.append(fork())
        if children[0] == 0:
            signal.alarm(SECONDS)
    return key
recorder = Recorder(path, codec=EventCodec(keys=redact), interval=0.2).connect(manager)
emit("1", "2", "3")
until(lambda: recorder.recorded == 3)
print(os.waitpid(children[0], 0)[1])
emit("4")
recorder.disconnect()
print(keys(), recorder.lost)
""",
        tmp_path / "events.jsonl",
    )

    assert printed == ["0", "['1', '2', '3', '4'] 0"]
