"""The other processes of a group, as the serving process sees them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from encore_events import forks
from encore_storage.processes.info import ProcessInfo
from encore_storage.server.operation_table import Key
from encore_storage.server.process_state import MemberState, Others

ENDED = 20  # processes that are kept apart after their end; the sum keeps the counts of all


class Members:
    """The states of the other processes, and their sum. One thread changes them and any number of threads read.

    Args:
        clock: seconds since the epoch.

    Attributes:
        sum: of all other processes, of those that have ended, too.
        version: the number of processes that have joined or ended so far.
        omitted: the number of ended processes that are no longer kept apart.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.version = 0
        self.omitted = 0
        self.sum = Others(clock(), lambda: self.running)
        self._clock = clock
        self._states: dict[ProcessInfo, MemberState] = {}
        self._renew()
        forks.renew_in_child(self, Members._renew)

    def __repr__(self) -> str:
        return f"<Members: {len(self.running)} running, {len(self.all) - len(self.running)} ended>"

    @property
    def all(self) -> list[MemberState]:
        """The running processes and the latest that ended, in the order in which they joined."""
        with self._lock:
            return list(self._states.values())

    @property
    def running(self) -> list[MemberState]:
        """The running processes."""
        return [state for state in self.all if state.state == "running"]

    def join(self, process: ProcessInfo) -> MemberState:
        """Return the state of a process that has connected, or has connected again."""
        with self._lock:
            state = self._states.get(process)
            if state is None:
                self.sum.started = min(self.sum.started, process.started)
                state = self._states[process] = MemberState(process)
            state.state, state.ended_at = "running", None
            self.version += 1
        return state

    def end(self, state: MemberState, *, vanished: bool) -> Counter[Key]:
        """Mark a process as ended, and return the number of operations in flight by row of the table of operations."""
        with self._lock:
            in_flight = state.end(self._clock(), vanished=vanished)
            self.version += 1
            ended = [one for one in self._states.values() if one.state != "running"]
            for one in sorted(ended, key=lambda each: each.ended_at or 0.0)[:-ENDED]:
                del self._states[one.process]
                self.omitted += 1
        return in_flight

    def _renew(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one at the fork
