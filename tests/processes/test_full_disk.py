"""Groups of processes without room on the disk, on a disk that cannot be written, and without free descriptors."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forking import run_forking
from tests.servers import give_up

BEGIN = """
import contextlib, logging, os, re, resource, signal, subprocess, sys, urllib.request
from pathlib import Path
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from prometheus_client import CollectorRegistry
from tests.forking import *

class Warnings(logging.Handler):
    def emit(self, record):
        os.write(1, f"{record.levelname}: {record.getMessage()[:50]}\\n".encode())

logging.getLogger().addHandler(Warnings())
disk, manager = Path(sys.argv[1]), EventManager()

def fill():
    with open(disk / "filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))

def free():
    (disk / "filler").unlink()

def begin():
    return monitor(manager, logs=False, registry=CollectorRegistry(), port=0)

def write(count, start=0):
    for number in range(start, start + count):  # each store has series of its own
        DictMemoryStore(name=f"store {number}", event_manager=manager).from_bytes("a", b"1")

def writes():
    with urllib.request.urlopen(observed.address) as response:
        text = response.read().decode()
    return int(sum(map(float, re.findall(r'_duration_seconds_count{operation="set",outcome="ok",.*} (.*)', text))))

class Child:
    def __init__(self):
        self.commands, commands = os.pipe()
        answers, self.answers = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            os.close(commands), os.close(answers)
            signal.alarm(SECONDS)
            while command := os.read(self.commands, 1000):
                exec(command)
                os.write(self.answers, b".")
            os._exit(0)
        os.close(self.commands), os.close(self.answers)
        self.commands, self.answers = commands, answers
    def do(self, command):
        os.write(self.commands, command.encode())
        assert os.read(self.answers, 1)
    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

def waited_for(count):
    until(lambda: writes() == count)
    return count
"""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a directory with the groups of the test alone, whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield Path(path)


@pytest.fixture(params=["size=1m"])
def disk(runtime: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Yield a disk of 1 MiB with the groups."""
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(runtime)]
    if (done := subprocess.run(mount, capture_output=True, check=False)).returncode:
        give_up(f"only root can mount a small disk: {done.stderr.decode()}")
    try:
        yield runtime
    finally:
        subprocess.run(["umount", str(runtime)], check=True)


def test_processes_that_find_a_full_disk_share_their_counts_later(disk: Path) -> None:
    printed = run_forking(
        BEGIN
        + """
fill()
observed = begin()
write(1)
child = Child()
child.do("write(2)")
print(writes(), observed.page is not None)
free()
print(waited_for(3))
child.do("write(4)")
print(writes())
child.kill()
print(waited_for(7))
observed.close()
print(os.listdir(disk / "encore-1"))
""",
        disk,
    )

    warnings = 2 * ["WARNING: the metrics of this process are missing in those o"]
    assert printed == [*warnings, "1 True", "3", "7", "7", "[]"]


def test_disk_that_is_full_for_a_while_loses_and_doubles_no_counts(disk: Path) -> None:
    printed = run_forking(
        BEGIN
        + """
observed = begin()
write(100)
first, second = Child(), Child()
first.do("write(10)"), second.do("write(10)")
fill()
first.do("write(190, 10)")
print(120 < writes() < 310)
second.kill()  # its counts cannot be added to those of ended processes
print(writes() < 310)
free()
print(waited_for(310))
until(list((disk / "encore-1").glob("*/ended.json")).__len__)
fill()
first.kill()
print(waited_for(310))
free()
print(writes())
observed.close()
print(os.listdir(disk / "encore-1"))
""",
        disk,
    )

    warning = "WARNING: some counts are missing in the metrics of the othe"
    assert printed == [warning, "True", "True", "310", "310", "310", "[]"]


@pytest.mark.parametrize("disk", ["size=1m,ro"], indirect=True)
def test_disk_that_cannot_be_written_leaves_each_process_alone(disk: Path) -> None:
    printed = run_forking(
        BEGIN
        + """
observed = begin()
write(1)
child = Child()
child.do("write(2)")
print(writes())
observed.close()
""",
        disk,
    )

    assert printed == ["WARNING: other processes of this program do not share its p", "1"]


def test_disk_that_becomes_read_only_loses_no_counts(disk: Path) -> None:
    printed = run_forking(
        BEGIN
        + """
observed = begin()
write(100)
child = Child()
child.do("write(100)")
bound = ["mount", "--bind", str(disk), str(disk)], ["mount", "-o", "remount,ro,bind", str(disk)]
for command in bound: subprocess.run(command, check=True)
try:
    child.do("write(100)")
    child.kill()
    print(waited_for(300))
finally:
    subprocess.run(["umount", str(disk)], check=True)
print(writes())
observed.close()
print(os.listdir(disk / "encore-1"))
""",
        disk,
    )

    assert printed == ["300", "300", "[]"]


def test_processes_without_free_descriptors_lose_no_counts(runtime: Path) -> None:
    printed = run_forking(
        BEGIN
        + """
observed = begin()
write(10)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
child = Child()
child.do("write(10)")
child.do("resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/dev/fd'))), hard))")
child.do("write(190, 10)")
print(writes() < 210)
child.do("resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))")
print(waited_for(210))
observed.close()
""",
        runtime,
    )

    assert printed == ["WARNING: some counts are missing in the metrics of the othe", "True", "210"]
