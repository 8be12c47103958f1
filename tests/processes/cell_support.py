"""Helpers for the tests of processes: children that count until they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encore_storage.processes.cell_directory import CellDirectory, Reading
from encore_storage.processes.cells import Cells, Key
from tests.forking import ROOT

PAIR: Key = ("++", "pair")
LIVE: Key = ("~<", "in progress")

CHILD = """
import os, sys
from pathlib import Path
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
directory, cells = CellDirectory(Path(sys.argv[1])), Cells()
cells.move_to(directory.create())
"""


def counting(directory: CellDirectory) -> Cells:
    """Return cells in a file of the directory."""
    cells = Cells()
    cells.move_to(directory.create())
    return cells


def files(directory: CellDirectory) -> list[str]:
    """Return the names of the files of processes."""
    return sorted(path.name for path in directory.path.iterdir() if path.name.endswith((".cells", ".new")))


def total(reading: Reading, key: Key = PAIR) -> list[float]:
    """Return the sum of a block over all processes."""
    return list(reading.totals().get(key, ()))


@contextmanager
def child(directory: CellDirectory, program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program after `CHILD` until it prints a line, and kill it at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", CHILD + program, str(directory.path), *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def killed_child(directory: CellDirectory, program: str) -> int:
    """Run a program in a child that is killed once it prints a line; return its process id."""
    with child(directory, program) as process:
        process.send_signal(signal.SIGKILL)
    return process.pid


def path_of(directory: CellDirectory, pid: int) -> Path:
    """Return the file of a process."""
    (path,) = directory.path.glob(f"{pid}-*.cells")
    return path
