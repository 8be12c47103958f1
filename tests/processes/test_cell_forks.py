"""Cells in forked children: they inherit nothing, and get a file of their own with their first block."""

from __future__ import annotations

import pytest

from encore_storage.processes.cell_directory import CellDirectory
from tests.forking import FORKS, run_forking

BEGIN = """
import os, random, signal, sys, threading
from pathlib import Path
from encore_events import forks
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from tests.forking import *

PAIR = ("++", "pair")
directory = CellDirectory(Path(sys.argv[1]))
renewed = []
def move():
    renewed.append(os.getpid())
    cells.move_to(directory.create())
cells = Cells(move)
"""


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("place", ["", "move()"], ids=["private", "mapped"])
def test_child_counts_from_zero_in_a_file_of_its_own(directory: CellDirectory, kind: str, place: str) -> None:
    printed = run_forking(
        BEGIN
        + place
        + f"""
cells.add(PAIR, 1, 2)
renewed.clear()
def work():
    forks.this_process()
    before = cells.values(), cells.file
    cells.add(PAIR, 10, 20), cells.add(("+", "another"), 1)
    return before, cells.values()[PAIR], renewed == [os.getpid()]
print(forked(work, FORKS[{kind!r}]))
print(directory.read(cells).totals()[PAIR], renewed)
""",
        directory.path,
    )

    assert printed == ["(({}, None), [10, 20], True)", "[11.0, 22.0] []"]


@pytest.mark.parametrize("notices", ["forks.this_process()", "pass"], ids=["noticed", "not yet noticed"])
@pytest.mark.parametrize("kind", FORKS)
def test_child_does_not_keep_its_killed_parent_alive(directory: CellDirectory, kind: str, notices: str) -> None:
    printed = run_forking(
        BEGIN
        + f"""
reading, writing = os.pipe()
parent = fork()
if parent == 0:
    move()
    cells.add(PAIR, 1, 2)
    if FORKS[{kind!r}]() == 0:
        {notices}
        os.write(writing, b"%d" % os.getpid())
        signal.pause()
    signal.pause()
child = int(os.read(reading, 100))
print(directory.read().processes)
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
print(directory.read().processes, [one.pid for one in directory.fold()] == [parent], directory.read().totals())
os.kill(child, signal.SIGKILL)
""",
        directory.path,
    )

    assert printed == ["1", "0 True {('++', 'pair'): [1.0, 2.0]}"]


def test_child_forked_in_the_middle_of_a_change_leaves_the_parents_file_alone(directory: CellDirectory) -> None:
    printed = run_forking(
        BEGIN
        + """
move()
cells.add(PAIR, 1, 1)
block = cells.block(PAIR)
with cells.lock:
    block.values[0] += 1
    child = fork()
    block.add(0, 1)
if child == 0:
    os._exit(cells.values() != {})
print(os.waitpid(child, 0)[1], directory.read().totals()[PAIR])
""",
        directory.path,
    )

    assert printed == ["0 [2.0, 2.0]"]


def test_forks_at_any_moment_lose_and_double_nothing(directory: CellDirectory) -> None:
    printed = run_forking(
        BEGIN
        + """
move()
stop = threading.Event()
counted = [0, 0]
def count(number):
    while not stop.is_set():
        cells.add(PAIR, 1, 1)
        cells.add(("+", str(counted[number] % 50), str(number)), 1)
        counted[number] += 1
def read():
    while not stop.is_set():
        directory.read(cells)
threads = [threading.Thread(target=count, args=(number,)) for number in range(2)] + [threading.Thread(target=read)]
for thread in threads:
    thread.start()
def work():
    for _ in range(100):
        cells.add(PAIR, 1, 1)
    cells.close()
    return cells.values()[PAIR]
answers = {forked(work) for _ in range(60)}
stop.set()
for thread in threads:
    thread.join()
print(answers, total := directory.read(cells).totals()[PAIR], total == [6_000 + sum(counted)] * 2)
directory.fold()
print(directory.read().totals()[PAIR] == total, len(os.listdir(directory.path)))
""",
        directory.path,
    )

    assert printed[0].startswith("{'[100, 100]'} ")
    assert printed[0].endswith("True")
    assert printed[1] == "True 3"
