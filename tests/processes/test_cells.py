"""Cells in private memory and in files: blocks, moving, threads, re-entrance, full disks."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cell_format import CHUNK
from encore_storage.processes.cells import Cells
from tests.forking import run_forking
from tests.processes.cell_support import PAIR, counting, files, total


def test_block_is_made_at_zero_once() -> None:
    cells = Cells()

    assert cells.block(PAIR).values == [0, 0]
    assert cells.block(PAIR) is cells.block(PAIR)


def test_changes_in_private_memory_and_in_a_file_are_the_same(directory: CellDirectory) -> None:
    private, mapped = Cells(), counting(directory)
    for cells in (private, mapped):
        cells.add(PAIR, 1, 2.5)
        cells.set(("=", "set"), 7)

    assert private.values() == mapped.values() == {PAIR: [1, 2.5], ("=", "set"): [7]}
    assert directory.read().totals() == mapped.values()


def test_move_keeps_blocks_and_their_values(directory: CellDirectory) -> None:
    cells = Cells()
    block = cells.block(PAIR)
    cells.add(PAIR, 1, 2)

    cells.move_to(directory.create())
    cells.add(PAIR, 1, 2)

    assert cells.block(PAIR) is block
    assert total(directory.read()) == [2, 4]


def test_move_to_another_file_removes_the_first(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)

    cells.move_to(directory.create())
    cells.add(PAIR, 1, 2)

    assert total(directory.read()) == [2, 4]
    assert len(files(directory)) == 1


def test_close_leaves_the_counts_and_continues_privately(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    cells.close()
    cells.add(PAIR, 1, 2)

    assert total(directory.read()) == [1, 2]
    assert cells.values() == {PAIR: [2, 4]}


def test_file_grows_by_mappings(directory: CellDirectory, cells: Cells) -> None:
    keys = [("+", "x" * 1000, str(number)) for number in range(200)] + [("+", "long" * CHUNK)]
    for key in keys:
        cells.add(key, 1)
        cells.add(key, 1)

    assert directory.read().totals() == {key: [2] for key in keys}


def test_repr_has_the_number_of_blocks_and_the_place(cells: Cells) -> None:
    cells.add(PAIR, 1, 2)

    assert repr(Cells()) == "<Cells: 0 blocks in private memory>"
    assert repr(cells).startswith(f"<Cells: 1 blocks in <CellFile '{os.getpid()}-")
    assert repr(cells.block(PAIR)) == "<Block ('++', 'pair'): [1, 2]>"


def test_threads_lose_no_change(directory: CellDirectory, cells: Cells) -> None:
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        for _ in range(2_000):
            cells.add(PAIR, 1, 1)
            cells.add(("+", str(number)), 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert total(directory.read()) == [16_000, 16_000]
    assert len(directory.read().totals()) == 9


def test_threads_lose_no_change_while_blocks_move(directory: CellDirectory) -> None:
    cells, done = Cells(), threading.Event()

    def work() -> None:
        for _ in range(20_000):
            cells.add(PAIR, 1, 1)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    cells.move_to(directory.create())
    while not done.is_set():
        cells.move_to(directory.create())
    thread.join()

    assert total(directory.read()) == [20_000, 20_000]


class CountsWhenCollected:
    """An object in a cycle, whose finalizer counts in an existing and in a new block."""

    def __init__(self, cells: Cells, number: int) -> None:
        self.itself = self
        self._cells = cells
        self._number = number

    def __del__(self) -> None:
        self._cells.add(PAIR, 1, 1)
        self._cells.add(("+", "x" * 3000, str(self._number)), 1)


def test_finalizers_count_in_the_middle_of_changes(directory: CellDirectory, cells: Cells) -> None:
    threshold = gc.get_threshold()
    gc.set_threshold(5, 2, 2)  # collections in the middle of nearly anything
    try:
        for number in range(2_000):
            CountsWhenCollected(cells, number)
            cells.add(PAIR, 1, 1)
            cells.add(("+", "own", str(number)), 1)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()

    assert total(directory.read()) == [4_000, 4_000]
    assert len(directory.read().totals()) == 4_001


@pytest.mark.parametrize("call", ["reserve", "commit"])
def test_block_made_while_another_is_placed_is_placed_after_it(
    directory: CellDirectory, cells: Cells, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    plain, made = getattr(cells.file, call), list[bool]()

    def finalize(*arguments: object) -> object:
        if not made:
            made.append(True)
            cells.add(("+", "made by a finalizer"), 1)
        return plain(*arguments)

    monkeypatch.setattr(cells.file, call, finalize)
    cells.add(PAIR, 1, 1)

    assert directory.read().totals() == {PAIR: [1, 1], ("+", "made by a finalizer"): [1]}


@pytest.mark.parametrize("call", ["reserve", "commit"])
def test_interrupted_placing_is_repeated_with_the_next_block(
    directory: CellDirectory, cells: Cells, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    plain, interrupts = getattr(cells.file, call), [KeyboardInterrupt]

    def interrupted(*arguments: object) -> object:
        if call == "commit" and interrupts:
            raise interrupts.pop()
        result = plain(*arguments)
        if interrupts:
            raise interrupts.pop()
        return result

    monkeypatch.setattr(cells.file, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        cells.add(PAIR, 1, 1)
    cells.add(PAIR, 1, 1)
    cells.add(("+", "next"), 1)

    assert directory.read().totals() == {PAIR: [1, 1], ("+", "next"): [1]}


FULL = """
import logging, resource, signal, sys
from pathlib import Path
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cell_format import CHUNK
from encore_storage.processes.cells import Cells
logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
directory = CellDirectory(Path(sys.argv[1]))
"""


def test_full_disk_keeps_later_blocks_private_until_there_is_room(directory: CellDirectory) -> None:
    printed = run_forking(
        FULL
        + """
cells = Cells()
cells.move_to(directory.create())
limit(CHUNK)
for number in range(100):
    cells.add(("+", "x" * 1000, str(number)), 1)
    cells.add(("+", "x" * 1000, str(number)), 1)
shared = directory.read().totals()
print(50 < len(shared) < 100, set(map(tuple, shared.values())), len(directory.read(cells).totals()))
cells.place_rest()
print(len(directory.read().totals()) < 100)
limit(hard)
cells.place_rest()
print(len(directory.read().totals()))
""",
        directory.path,
    )

    assert printed == ["WARNING", "True {(2.0,)} 100", "True", "100"]


def test_file_that_cannot_be_made_is_an_error_and_leaves_nothing(directory: CellDirectory) -> None:
    printed = run_forking(
        FULL
        + """
import os
limit(CHUNK - 1)
try:
    directory.create()
except OSError as error:
    print(type(error).__name__, os.listdir(directory.path))
""",
        directory.path,
    )

    assert printed == ["OSError []"]


def test_closed_descriptors_stop_no_counting(directory: CellDirectory) -> None:
    printed = run_forking(
        """
import os, sys
from pathlib import Path
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
directory, cells = CellDirectory(Path(sys.argv[1])), Cells()
cells.move_to(directory.create())
cells.add(("+", "first"), 1)
os.closerange(3, 100)
reused = [os.open(sys.argv[1] + f"/of the program {number}", os.O_CREAT | os.O_RDWR) for number in range(20)]
for number in range(200):
    cells.add(("+", "x" * 1000, str(number)), 1)
print(len(directory.read().totals()), directory.read().processes, directory.fold())
child = os.fork()
if child == 0:
    del cells
    os._exit(sum(os.write(number, b"of the child") for number in reused) != 240)
print(os.waitpid(child, 0)[1])
cells.close()
print(len(directory.read().totals()), directory.read().processes)
del cells
print([os.write(number, b"still open") for number in reused] == [10] * 20)
print([os.fstat(number).st_size for number in reused] == [22] * 20)
""",
        directory.path,
    )

    assert printed == ["201 1 []", "0", "201 0", "True", "True"]


def test_file_that_another_replaced_is_not_grown(directory: CellDirectory) -> None:
    printed = run_forking(
        FULL
        + """
import os
cells = Cells()
cells.move_to(directory.create())
os.closerange(3, 100)
path = cells.file.path
path.unlink()
path.write_bytes(b"")
for number in range(200):
    cells.add(("+", "x" * 1000, str(number)), 1)
print(path.stat().st_size, len(cells.values()))
""",
        directory.path,
    )

    assert printed == ["WARNING", "0 200"]
