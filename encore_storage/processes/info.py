"""The description of a process, as the others of its group see it."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

from encore_events import forks
from encore_storage.processes.identity import program_name


class ProcessInfo(NamedTuple):
    """A process.

    Attributes:
        pid: its process id; a later process may have the same one.
        name: the program that it runs, such as 'worker.py', or its name in multiprocessing.
        started: when it began to count, in seconds since the epoch.
    """

    pid: int
    name: str
    started: float


def describe_process(started: float | None = None) -> ProcessInfo:
    """Return the description of the calling process, which started now or at `started`.

    Its name is that of its program, and for a child of multiprocessing that of the Process.
    """
    name = program_name()
    multiprocessing = sys.modules.get("multiprocessing.process")  # not imported for this
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        name = multiprocessing.current_process().name
    return ProcessInfo(forks.this_process().pid, name, time.time() if started is None else started)
