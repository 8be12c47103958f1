"""The test whether the process that owns a file still runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import NamedTuple


class Status(NamedTuple):
    """The state of a process.

    Attributes:
        parent: the process id of the parent.
        started: the start time, in clock ticks since the boot. No later process with the same id has the same one.
        memory: addresses that a fork does not change, and each execution of a program does; None if they are hidden.
    """

    parent: int
    started: int
    memory: tuple[bytes, ...] | None


def status_of(pid: int) -> Status | None:
    """Return the status of a process; None if it has ended, even if it was not waited for, or if it isn't known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] not in b"ZX":
            memory = tuple(fields[23:26])  # where the code and the stack begin
            return Status(int(fields[1]), int(fields[19]), memory if len({*memory} - {b"0", b"1"}) > 1 else None)
    return None


def start_time(pid: int) -> int:
    """Return `Status.started` of a process; 0 if it has ended or isn't known."""
    status = status_of(pid)
    return 0 if status is None else status.started


def pid_namespace() -> int:
    """Return a number of the namespace of process ids that this process is in; 0 if it isn't known."""
    with contextlib.suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 (of the namespace, not of a file)
    return 0


def is_running(descriptor: int, pid: int, started: int | None = None, namespace: int = 0) -> bool:
    """Return whether the process `pid`, which locked and mapped the file of `descriptor`, still runs.

    A free lock alone proves nothing, since a program may close all descriptors; nor does a lock that is held, since
    children may have copies. On Linux, the process has ended if its id belongs to nobody or to another process, or if
    it maps the file no longer, as after exec.

    Args:
        descriptor: of the file, opened by the caller.
        pid: the process.
        started: its start time, or None if it isn't known: then it runs if any process has its id.
        namespace: its namespace of process ids, see `pid_namespace`. In another one than the caller's, such as a
            container's, only the lock counts.
    """
    is_seen = namespace in {0, pid_namespace()}
    found = start_time(pid) if is_seen else 0
    if is_seen and started and found != started:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
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
