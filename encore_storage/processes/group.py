"""The processes of a program that share a page and metrics."""

from __future__ import annotations

import atexit
import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encore_events.forks import renew_in_child, this_process
from encore_events.loggers import get_logger
from encore_storage.processes.cell_directory import CellDirectory, Reduce
from encore_storage.processes.directory import GroupDirectory, runtime_directory, sweep
from encore_storage.processes.identity import LONGEST, is_name, key_of, program_identity

logger = get_logger("encore_storage")


class Group:
    """The processes of one user and one program that share a page and metrics.

    Get groups from `group_of()` and `group_named()`, so that there is one object for each.

    Attributes:
        name: the name of the group, for people.
        key: the name of its directory.
    """

    def __init__(self, name: str, key: str, reduce: Reduce | None = None) -> None:
        self.name = name
        self.key = key
        self._directory: GroupDirectory | None = None
        self._cells: CellDirectory | None = None
        self._reduce = reduce
        self._is_alone = False
        self._has_warned = False
        self._forget_exit: Callable[[], object] = lambda: None
        self._renew()
        renew_in_child(self, Group._renew)

    def __repr__(self) -> str:
        return f"<Group {self.name!r}>"

    @property
    def path(self) -> Path | None:
        """The directory of the group, which the first use joins; None if there is none, logged once.

        A forked child is no member before its own first use.
        """
        with self._lock:
            directory = self._directory
        if directory is not None or self._is_alone:
            return None if directory is None else directory.path
        try:
            joined = _join(self.key)
        except OSError as error:
            self._is_alone = True
            if not self._has_warned:  # in this process or its parent
                self._has_warned = True
                logger.warning("other processes of this program do not share its page and metrics: %s", error)
            return None
        with self._lock:
            if self._directory is None:
                self._forget_exit()  # that of the parent, in a forked child
                self._directory, self._forget_exit = joined, call_at_exit(self._leave)
            directory = self._directory
        if directory is not joined:
            joined.leave()  # another thread was faster
        return directory.path

    @property
    def cells(self) -> CellDirectory | None:
        """The metrics of the group; None if there is no directory."""
        path = self.path
        if path is None:
            return None
        cells = self._cells
        if cells is None or cells.path != path:
            cells = self._cells = CellDirectory(path, reduce=self._reduce)
        return cells

    def leave_if_last(self) -> bool:
        """Remove the directory if no other process needs it, and return whether this was so.

        Otherwise this process remains a member until its end.
        """
        with self._lock:
            directory = self._directory
            if directory is None or not directory.leave_if_last():
                return False
            self._directory = None
            self._forget_exit()
        return not directory.path.exists()  # it is kept for a parent that may start other processes

    def _leave(self) -> None:
        with self._lock:
            left, self._directory, self._is_alone = self._directory, None, True
        if left is not None:
            left.leave()

    def _renew(self) -> object:
        """Be no member in a forked child; return what the parent had, to be freed later."""
        inherited = self._directory, self._cells
        self._lock = threading.RLock()
        self._directory = self._cells = None
        self._is_alone = False
        return inherited


def group_of(host: str, port: int, *, reduce: Reduce | None = None) -> Group:
    """Return the group of the processes of this program with that address.

    With port 0, which takes a free port, only this process and its forked children are in it.

    Args:
        host: the host of the address.
        port: the port.
        reduce: reduces the sums of ended processes, as in CellDirectory.
    """
    identity = program_identity()
    if port == 0:
        return Group(identity, key_of(secrets.token_hex(16)), reduce)
    return _group(identity, key_of(identity, host, port), reduce)


def group_named(name: str, *, reduce: Reduce | None = None) -> Group:
    """Return the group with that name.

    Raises:
        TypeError: the name is no string.
        ValueError: it has not 1 to 100 printable characters.
    """
    if not isinstance(name, str):
        raise TypeError(f"group must be the name of a group of processes, not {name!r}")
    if not is_name(name):
        raise ValueError(f"group must be a name of 1 to {LONGEST} printable characters, not {name!r}")
    return _group(name, key_of(name), reduce)


def call_at_exit(func: Callable[[], object]) -> Callable[[], object]:
    """Call `func` when this process exits, also if multiprocessing runs it. Return a function that cancels this."""
    return _ExitCall(func).cancel


class _ExitCall:
    """A call at the exit of this process, but not of its forked children."""

    def __init__(self, func: Callable[[], object]) -> None:
        self._func = func
        self._process = this_process()
        self._finalizers: list[Any] = []
        atexit.register(self._run)
        self._multiprocessing: Any = sys.modules.get("multiprocessing.util")  # not imported for this
        if self._multiprocessing is not None:
            # Its children don't call functions of atexit. They drop all finalizers after the import of the main module.
            self._finalize()
            self._multiprocessing.register_after_fork(self, _ExitCall._finalize)  # as long as this object is alive

    def cancel(self) -> None:
        """Forget the call. A second time does nothing."""
        atexit.unregister(self._run)
        for finalizer in self._finalizers:
            finalizer.cancel()

    def _finalize(self) -> None:
        self._finalizers.append(self._multiprocessing.Finalize(None, self._run, exitpriority=0))

    def _run(self) -> None:
        if self._process is this_process():
            self.cancel()  # or the other one of the two would call it again
            self._func()


_groups: dict[str, Group] = {}


def _group(name: str, key: str, reduce: Reduce | None) -> Group:
    return _groups.get(key) or _groups.setdefault(key, Group(name, key, reduce))


def _join(key: str) -> GroupDirectory:
    base = runtime_directory()
    sweep(base)
    return GroupDirectory.join(base, key)
