"""Comparison of two pieces of code by the minima of many short, interleaved rounds.

Other load makes a round longer, never shorter, so the minimum is the time of the code itself. Slow changes, such as the
processor's clock rate, affect both sides, so the ratio is stable even if the times are not.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Protocol

ROUND_NS = 5_000_000  # long compared to the clock's resolution, short compared to disturbances


class Snippet:
    """Statements to time.

    Args:
        code: The statements; timed inline, as by `timeit`.
        units: Units of work in one run, such as the chunks of a loop.
        less: A snippet whose time is subtracted.
        rounds: Maximum number of rounds, for a peer that takes seconds.
        names: Local variables of the statements.
    """

    def __init__(
        self, code: str, /, *, units: int = 1, less: Snippet | None = None, rounds: int | None = None, **names: Any
    ) -> None:
        setup = "\n".join(f"{name} = _names[{name!r}]" for name in names) or "pass"
        self._timer = timeit.Timer(code, setup, perf_counter_ns, {"__name__": "__main__", "_names": names})
        self._units = units
        self._number = 0
        self._rounds = rounds
        self._best = float("inf")
        self.less = less

    @property
    def nanoseconds(self) -> float:
        """The minimum time of a unit, less that of the subtracted snippet."""
        return self._best - (self.less.nanoseconds if self.less else 0)

    def run(self, number: int, round_ns: int) -> None:
        """Run a round unless the maximum is reached; the first call calibrates the number of runs in a round."""
        if self._rounds is not None and number >= self._rounds:
            return
        if not self._number:
            self._calibrate(round_ns)
        taken = self._timer.timeit(self._number) / self._number / self._units
        self._best = min(self._best, taken)

    def _calibrate(self, round_ns: int) -> None:
        self._number = 1
        if self._rounds is not None:
            return
        self._timer.timeit(1)  # one-time work of the first run, such as compiling a plan, must not count
        while (taken := self._timer.timeit(self._number)) < round_ns:
            self._number = max(self._number * 2, int(self._number * round_ns / max(taken, 1)))


class Tail:
    """A call whose slowest runs count: the time that 99.9 % of the runs keep.

    Args:
        call: The call.
        during: Makes the context of a round, such as another thread.
    """

    less = None

    def __init__(self, call: Callable[[], object], during: Callable[[], AbstractContextManager[object]]) -> None:
        self._call = call
        self._during = during
        self._taken: list[int] = []

    @property
    def nanoseconds(self) -> float:
        """The time that 99.9 % of all runs keep."""
        return sorted(self._taken)[len(self._taken) * 999 // 1000]

    def run(self, _number: int, _round_ns: int) -> None:
        """Run a round of 2,000 calls."""
        with self._during():
            for _ in range(2_000):
                started = perf_counter_ns()
                self._call()
                self._taken.append(perf_counter_ns() - started)


class Side(Protocol):
    """One side of a row."""

    @property
    def less(self) -> Snippet | None:
        """A side whose time is subtracted."""

    @property
    def nanoseconds(self) -> float:
        """The time of a unit."""

    def run(self, number: int, round_ns: int, /) -> None:
        """Run a round."""


@dataclass(frozen=True)
class Bench:
    """A row of the table.

    Attributes:
        name: What is compared.
        make: Returns our side and the peer; called just before measuring, so that rows do not share memory.
        reach: The target ratio, or None.
        reach_us: The target time of our side in microseconds, or None.
        round_ns: The length of a round. With shorter rounds there are more of them, to find small differences.
    """

    name: str
    make: Callable[[], tuple[Side, Side]]
    reach: float | None = None
    reach_us: float | None = None
    round_ns: int = ROUND_NS


@dataclass(frozen=True)
class Figure:
    """The result of a bench.

    Attributes:
        name: The name of the bench.
        ours: Minimum nanoseconds for a unit of our side.
        peer: The same for the peer.
        reach: The target ratio, or None.
        reach_us: The target of our side in microseconds, or None.
        ratio: Ours divided by the peer's.
    """

    name: str
    ours: float
    peer: float
    reach: float | None
    reach_us: float | None
    ratio: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", self.ours / self.peer)

    @property
    def verdict(self) -> str:
        """'ok', 'over', or empty without a target."""
        if self.reach_us is not None:
            return "ok" if self.ours / 1e3 <= self.reach_us else "over"
        if self.reach is None:
            return ""
        return "ok" if self.ratio <= self.reach else "over"


def measure(bench: Bench, rounds: int) -> Figure:
    """Run the rounds of both sides, `rounds` of the usual length, and return the figure."""
    ours, peer = bench.make()
    snippets = [snippet for side in (ours, peer) for snippet in (side.less, side) if snippet]
    for number in range(rounds * ROUND_NS // bench.round_ns):
        for snippet in snippets if number % 2 else reversed(snippets):
            snippet.run(number, bench.round_ns)
    return Figure(bench.name, ours.nanoseconds, peer.nanoseconds, bench.reach, bench.reach_us)
