"""Kills of processes that count and of processes that fold: no change is torn, lost or counted twice."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cell_reader import CellReader
from encore_storage.processes.cells import Cells
from tests.campaign.support import CASES
from tests.forking import fork
from tests.storage.support import run

KILLS = 2_000
KEY = ("++++++", "six cells")

FOLDED = """
import ctypes, json, os, shutil, signal, subprocess, sys
from collections import Counter
from pathlib import Path
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells

KEY, root = ("++", "pair"), sys.argv[1]
work, start = Path(root, "work"), Path(root, "start")
UNRELATED = {"mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "futex", "rt_sigreturn", "rt_sigaction",
    "rt_sigprocmask", "exit_group", "restart_syscall", "getpid", "gettid", "clock_gettime", "getrandom"}

def total():
    return list(CellDirectory(work).read().totals()[KEY])

def count(directory, amount):
    cells = Cells()
    cells.move_to(directory.create())
    cells.add(KEY, amount, amount)
    return cells

def restore():
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)

def traced(*options):
    go = os.pipe()
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # any process may trace this one
        os.close(go[1])
        os.read(go[0], 1)
        CellDirectory(work).fold()
        os._exit(0)
    tracer = subprocess.Popen(["strace", "-f", "-p", str(child), *options], stderr=subprocess.PIPE, text=True)
    assert "attached" in (line := tracer.stderr.readline()), line
    os.close(go[1])
    os.close(go[0])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tracer.communicate()
    return status

start.mkdir()
directory = CellDirectory(start)
count(directory, 1).close()
directory.fold()
for amount in (10, 100):
    count(directory, amount).close()
killed = os.fork()
if not killed:
    count(directory, 1000)
    signal.raise_signal(signal.SIGKILL)
os.waitpid(killed, 0)

restore()
assert traced("-o", root + "/calls") == 0
calls = Counter()
with open(root + "/calls") as lines:
    for line in lines:
        name = line.split()[1].partition("(")[0]
        if name.isidentifier() and name not in UNRELATED:
            calls[name] += 1
outcomes = []
for name, number in sorted(calls.items()):
    for moment in range(1, number + 1):
        restore()
        status = traced("-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={moment}")
        seen = [total()]
        CellDirectory(work).fold()
        seen.append(total())
        left = sorted(path.name for path in work.iterdir())
        is_whole = seen == [[1111, 1111]] * 2 and left == ["ended.json", "folding.lock"]
        outcomes.append((f"{name} {moment}", status, is_whole))
print(json.dumps(outcomes))
"""


@pytest.mark.usefixtures("strace")
def test_kill_at_any_system_call_of_a_fold_loses_and_doubles_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcomes = json.loads(run(FOLDED, tmp_path, forks=True))

    assert [name for name, _, is_whole in outcomes if not is_whole] == []
    survived = [name.split()[0] for name, status, _ in outcomes if status != -9]
    assert survived in ([], ["read"])  # the tracer may attach before or during the first read
    assert len(outcomes) > 30
    record_property(CASES, len(outcomes) - len(survived))


def test_kills_at_random_moments_tear_no_change(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    chance = random.Random(13)
    for _ in range(KILLS):
        directory = CellDirectory(tmp_path)
        reading, writing = os.pipe()
        pid = fork()
        if pid == 0:
            cells = Cells()
            cells.move_to(directory.create())
            cells.add(KEY, *[1] * 6)
            os.write(writing, b".")
            while True:
                cells.add(KEY, *[1] * 6)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        time.sleep(chance.random() / 1_000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        (found,) = CellReader(tmp_path).read(())
        (value,) = set(found.blocks[KEY])
        assert value > 0
        directory.fold()
    record_property(CASES, KILLS)
