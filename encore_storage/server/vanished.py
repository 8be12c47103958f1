"""The processes of a group that ended without closing their connection, and the log of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from encore_storage.processes.cell_directory import Member
from encore_storage.processes.info import ProcessInfo
from encore_storage.processes.merging import Blocks, merge
from encore_storage.processes.receiver import InFlight, log_vanished
from encore_storage.server.ended import add_ended
from encore_storage.server.members import Members
from encore_storage.server.process_state import MemberState
from encore_storage.subscribers import blocks

_PATIENCE = 6.0  # seconds until what the process had in flight is taken from its last state


class VanishedProcesses:
    """The processes that vanished, each logged once it is known what it had in flight.

    The cells of a process say that exactly. Its last state may be older than the end of an operation. It counts only if
    there are no cells, as without metrics.

    Args:
        members: the other processes.
        clock: monotonic seconds.
    """

    def __init__(self, members: Members, clock: Callable[[], float] = time.monotonic) -> None:
        self._members = members
        self._clock = clock
        self._added = deque[tuple[ProcessInfo, InFlight]]()
        self._waiting: dict[ProcessInfo, tuple[InFlight, float]] = {}
        self._folded: dict[int, tuple[Blocks, float]] = {}
        self._predecessor: MemberState | None = None

    def __repr__(self) -> str:
        return f"<VanishedProcesses: {len(self._added) + len(self._waiting)} to be logged>"

    def add(self, process: ProcessInfo, in_flight: InFlight) -> None:
        """Add a process whose connection has ended, with what its last state had in flight. Thread-safe."""
        self._added.append((process, in_flight))

    def add_predecessor(self, process: ProcessInfo) -> None:
        """Add the process that served before this one."""
        self._predecessor = self._members.join(process)
        self._members.end(self._predecessor, vanished=True)
        self.add(process, {})

    def log(self, folded: Iterable[Member], *, is_last: bool = False) -> None:
        """Log the processes whose cells have been folded, and those that have waited for that in vain.

        Args:
            folded: the processes that ended without closing their cells.
            is_last: whether to wait for no other cells.
        """
        until = self._clock() + _PATIENCE
        for member in folded:  # one process may have several files
            before, _ = self._folded.get(member.pid, ({}, 0.0))
            self._folded[member.pid] = merge((before, member.blocks)), until
        while self._added:
            process, in_flight = self._added.popleft()
            self._waiting[process] = in_flight, until
        now = float("inf") if is_last else self._clock()
        running = {state.process for state in self._members.running}
        for process, (in_flight, latest) in list(self._waiting.items()):
            if process in running:  # it has connected again
                del self._waiting[process]
            elif process.pid in self._folded:
                self._log(process, self._folded[process.pid][0])
            elif now >= latest:
                del self._waiting[process]
                log_vanished(process, in_flight)
        self._folded = {pid: found for pid, found in self._folded.items() if now < found[1]}

    def _log(self, process: ProcessInfo, found: Blocks) -> None:
        del self._waiting[process]
        if self._predecessor is not None and self._predecessor.process == process:
            add_ended(found, self._predecessor.history)  # it has sent no state to this process
        log_vanished(process, in_flight_of(found))


def in_flight_of(found: Blocks) -> InFlight:
    """Return the number of operations in flight by store and operation, from the cells of a process."""
    counts = Counter[tuple[str, str]]()
    for (_, kind, *labels), values in found.items():
        if kind == blocks.IN_PROGRESS and values[0] > 0:
            store, operation, *_ = labels
            counts[store, operation] += int(values[0])
    return counts
