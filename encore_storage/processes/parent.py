"""The processes that may start other members of a group later: its counts are kept as long as one of them runs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from encore_storage.processes.liveness import start_time, status_of

_NAME = re.compile(r"parent-(\d+)-(\d+)")


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


def record_parents(directory: Path) -> None:
    """Record the parents of this process in the directory, and forget those that have ended. Raises OSError.

    Each is the name of an empty file: processes that record parents at the same time need no lock.
    """
    for path, parent in _recorded(directory):
        if not parent.is_running:
            path.unlink(missing_ok=True)
    for parent in program_parents():
        (directory / f"parent-{parent.pid}-{parent.started}").touch(mode=0o600)


def running_parents(directory: Path) -> set[int]:
    """Return the process ids of the recorded parents that still run."""
    return {parent.pid for _, parent in _recorded(directory) if parent.is_running}


def program_parents() -> list[Parent]:
    """Return the ancestors of this process that run the same program: each has forked the next one.

    The parent is one of them, too, if multiprocessing has started this process. On systems without /proc they are not
    known.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")  # not imported for this
    is_started = multiprocessing is not None and multiprocessing.parent_process() is not None
    found, child = list[Parent](), status_of(os.getpid())
    while child is not None:
        parent = status_of(child.parent)
        if parent is None or not (is_started or parent.memory == child.memory is not None):
            break
        found.append(Parent(child.parent, parent.started))
        child, is_started = parent, False
    return found


def _recorded(directory: Path) -> Iterator[tuple[Path, Parent]]:
    with contextlib.suppress(OSError):
        for path in list(directory.iterdir()):
            if named := _NAME.fullmatch(path.name):
                yield path, Parent(*map(int, named.groups()))
