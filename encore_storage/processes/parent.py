"""The parent of this process, if it runs the same program: it may start other processes of the group later."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

from encore_storage.processes.liveness import start_time

_MEMORY = slice(23, 26)  # where the code and the stack of a process begin, in /proc/<pid>/stat after its name


class Parent(NamedTuple):
    """A process.

    Attributes:
        pid: its process id.
        started: its start time, see `liveness.start_time`.
    """

    pid: int
    started: int

    @property
    def is_running(self) -> bool:
        """True if the process still runs."""
        return start_time(self.pid) == self.started

    @classmethod
    def read(cls, path: Path) -> Parent | None:
        """Return the parent in a file, or None."""
        with contextlib.suppress(OSError, ValueError):
            pid, started = path.read_text(encoding="ascii").split()
            return cls(int(pid), int(started))
        return None

    def write(self, path: Path) -> None:
        """Write the parent to a file."""
        path.write_text(f"{self.pid} {self.started}", encoding="ascii")


def program_parent() -> Parent | None:
    """Return the parent of this process if it has forked it, or multiprocessing has started it; otherwise None.

    On systems without /proc it is not known.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")  # not imported for this
    pid, is_child = os.getppid(), multiprocessing is not None and multiprocessing.parent_process() is not None
    started = start_time(pid)
    if started and (is_child or _memory_of(pid) == _memory_of(os.getpid()) is not None):
        return Parent(pid, started)
    return None


def _memory_of(pid: int) -> tuple[bytes, ...] | None:
    """Return addresses that a fork does not change, and each execution of a program does."""
    with contextlib.suppress(OSError):
        addresses = tuple(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[_MEMORY])
        if len({*addresses} - {b"0", b"1"}) > 1:  # otherwise, the system hides them
            return addresses
    return None
