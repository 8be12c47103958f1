"""The test whether the process that owns a file still runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def start_time(pid: int) -> int:
    """Return the time at which a process started, in clock ticks since the boot; 0 if it has ended or isn't known.

    No later process with the same id has the same one.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] not in b"ZX":  # killed, and not yet waited for
            return int(fields[19])
    return 0


def is_running(descriptor: int, pid: int, started: int | None = None) -> bool:
    """Return whether the process `pid`, which locked and mapped the file of `descriptor`, still runs.

    A free lock alone proves nothing, since a program may close all descriptors. On Linux, the process has ended if its
    id belongs to nobody or to another process, or if it maps the file no longer, as after exec.

    Args:
        descriptor: of the file, opened by the caller.
        pid: the process.
        started: its start time, or None if it isn't known: then it runs if any process has its id.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    found = start_time(pid)
    if not found or started is None:
        return bool(found)
    return found == started and _maps(pid, os.fstat(descriptor))


def _maps(pid: int, file: os.stat_result) -> bool:
    """Return whether a process maps the file; True if that isn't known."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_bytes().splitlines()
    except OSError:  # the process has changed its user
        return True
    inode = b"%d" % file.st_ino
    return any(line.split(None, 5)[4:5] == [inode] for line in lines)
