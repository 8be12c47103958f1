"""How two pieces of code are compared: interleaved, in many short rounds, by their minima.

Whatever else the machine does makes a round longer and never shorter, so the minimum is what the code itself takes; and
what changes slowly, such as the clock of the processor, meets both sides, so their ratio stands where the times do not.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

ROUND_NS = 5_000_000  # long against the clock's resolution, short against the machine's disturbances


class Snippet:
    """Statements, and how many units of work one run of them does.

    Args:
        code: The statements; timed as `timeit` does it, without a call around them.
        units: What one run counts for, such as the chunks of a loop.
        less: What the statements do beside what is being measured; its time is subtracted.
        rounds: The most rounds to run, for a peer of which one takes seconds.
        names: What the statements refer to, as local variables.
    """

    def __init__(
        self, code: str, /, *, units: int = 1, less: Snippet | None = None, rounds: int | None = None, **names: Any
    ) -> None:
        setup = "\n".join(f"{name} = _names[{name!r}]" for name in names) or "pass"
        self._timer = timeit.Timer(code, setup, perf_counter_ns, {"_names": names})
        self._units = units
        self._number = 0
        self._rounds = rounds
        self._best = float("inf")
        self.less = less

    @property
    def nanoseconds(self) -> float:
        """The least that a unit took, less what does not belong to it."""
        return self._best - (self.less.nanoseconds if self.less else 0)

    def run(self, number: int) -> None:
        """Run a round, unless enough have been; the first one finds out how often the code fits into it."""
        if self._rounds is not None and number >= self._rounds:
            return
        if not self._number:
            self._calibrate()
        taken = self._timer.timeit(self._number) / self._number / self._units
        self._best = min(self._best, taken)

    def _calibrate(self) -> None:
        self._number = 1
        if self._rounds is not None:
            return
        self._timer.timeit(1)  # what only the first run does, such as to compile a plan, would count as each run's
        while (taken := self._timer.timeit(self._number)) < ROUND_NS:
            self._number = max(self._number * 2, int(self._number * ROUND_NS / max(taken, 1)))


@dataclass(frozen=True)
class Bench:
    """A row of the table.

    Attributes:
        name: What is measured, and against what.
        make: Gives our side and the peer's; called when the row's turn comes, so that rows don't share memory.
        reach: The ratio that ours is to reach; None where the peer is only for comparison.
    """

    name: str
    make: Callable[[], tuple[Snippet, Snippet]]
    reach: float | None = None


@dataclass(frozen=True)
class Figure:
    """What a bench found.

    Attributes:
        name: The name of the bench.
        ours: The least number of nanoseconds for a unit of our side.
        peer: The same for the peer.
        reach: The ratio that ours is to reach, or None.
        ratio: Ours in terms of the peer's.
    """

    name: str
    ours: float
    peer: float
    reach: float | None
    ratio: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", self.ours / self.peer)

    @property
    def verdict(self) -> str:
        """'ok' or 'over', and nothing where there is no reach."""
        if self.reach is None:
            return ""
        return "ok" if self.ratio <= self.reach else "over"


def measure(bench: Bench, rounds: int) -> Figure:
    """The figure of a bench, from that many rounds of each side."""
    ours, peer = bench.make()
    snippets = [snippet for side in (ours, peer) for snippet in (side.less, side) if snippet]
    for number in range(rounds):
        for snippet in snippets if number % 2 else reversed(snippets):
            snippet.run(number)
    return Figure(bench.name, ours.nanoseconds, peer.nanoseconds, bench.reach)
