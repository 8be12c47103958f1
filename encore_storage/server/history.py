"""The last ten minutes by the second, of each store: what the page draws."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from encore_events.forks import renew_in_child
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.families import MAX_VALUES

SECONDS = 600
"""How many seconds are kept."""

_SHORTEST = 1e-9
_STEPS = 32  # parts of an octave that durations are told apart by: 3 % of their value


@dataclass(slots=True)
class Second:
    """What ended within one second.

    Attributes:
        version: the greater, the later it changed.
        latencies: how many operations fell into each bucket of duration.
    """

    version: int = 0
    operations: int = 0
    cancelled: int = 0
    errors: int = 0
    read: int = 0
    written: int = 0
    commits: int = 0
    rollbacks: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, other: Second) -> None:
        """Count what `other` counted as well."""
        self.version = max(self.version, other.version)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies.update(other.latencies)

    def quantile(self, share: float) -> float | None:
        """The duration in seconds that `share` of the operations did not exceed, within 3 %; None without any."""
        rank = math.ceil(share * self.operations)
        for bucket in sorted(self.latencies):
            rank -= self.latencies[bucket]
            if rank <= 0:
                return _duration_of(bucket)
        return None


_COUNTS = ("operations", "cancelled", "errors", "read", "written", "commits", "rollbacks")


class ToldUntil(NamedTuple):
    """How much of a history somebody knows: all that was over at `time`, as it was at `version`."""

    version: int = 0
    time: float = 0.0


NOTHING = ToldUntil()


class History:
    """Counts by second and store; safe from any thread.

    Where there are more than `MAX_VALUES` stores, those that come later share the name `OVERFLOW`, as in the metrics.

    Args:
        seconds: how many of them are kept.
    """

    def __init__(self, seconds: int = SECONDS) -> None:
        """Start with nothing."""
        self._kept = seconds
        self._version = 0
        self._seconds: dict[int, dict[str, Second]] = {}
        self._totals: dict[str, Second] = {}
        self._all_seconds: dict[int, Second] = {}
        self._all_totals = Second()
        self._renew()
        renew_in_child(self, History._renew)

    def __repr__(self) -> str:
        """How many seconds of how many stores."""
        return f"<History: {len(self._seconds)} seconds of {len(self._totals)} stores>"

    @property
    def stores(self) -> list[str]:
        """The names of all stores that have told anything, sorted."""
        with self._lock:
            return sorted(self._totals)

    def told(self, until: float) -> ToldUntil:
        """What is known to whoever gets `columns(until)` next."""
        return ToldUntil(self._version, until)

    def operation_ended(self, time: float, event: StoreProgressEndEvent) -> None:
        """Count an operation that ended at `time`."""
        with self._lock:
            for second in self._places(time, event.store):
                second.operations += 1
                second.errors += event.outcome == "error"
                second.cancelled += event.outcome == "cancelled"
                second.latencies[_bucket_of(event.duration)] += 1

    def bytes_moved(self, time: float, store: str | None, direction: str | None, count: int) -> None:
        """Count bytes that were told at `time`."""
        with self._lock:
            for second in self._places(time, store):
                second.read += count if direction == "read" else 0
                second.written += count if direction == "write" else 0

    def transaction_ended(self, time: float, event: StoreTransactionEndEvent) -> None:
        """Count a commit, or what was none."""
        with self._lock:
            for second in self._places(time, event.store):
                second.commits += event.outcome == "committed"
                second.rollbacks += event.outcome != "committed"

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """All counts since the start, of these stores; without any, of all."""
        with self._lock:
            total = _sum(self._totals, stores) if stores else self._all_totals
            return {name: getattr(total, name) for name in _COUNTS}

    def columns(self, until: float, stores: Collection[str] = (), told: ToldUntil = NOTHING) -> dict[str, list[Any]]:
        """The seconds that were over at `until`, as columns, ascending by `time`; the missing ones had nothing.

        Args:
            until: seconds since the epoch.
            stores: the stores that count; without any, all.
            told: what is known already: only what was over later, or has changed since, is given.
        """
        with self._lock:
            over = [time for time in sorted(self._all_seconds) if time + 1 <= until]
            over = [time for time in over if time > over[-1] - self._kept]
            new = [time for time in over if time + 1 > told.time or self._all_seconds[time].version > told.version]
            told_now = {time: self._told_of(time, stores) for time in new}
        columns: dict[str, list[Any]] = {"time": list(told_now)}
        for name in _COUNTS:
            columns[name] = [getattr(second, name) for second in told_now.values()]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            columns[name] = [second.quantile(share) for second in told_now.values()]
        return columns

    def _renew(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = threading.Lock()

    def _places(self, time: float, store: str | None) -> Iterable[Second]:
        """Where to count what happened at `time`: its second and the totals, of the store and of all. With the lock."""
        name = str(store)
        if name not in self._totals and len(self._totals) >= MAX_VALUES:
            name = OVERFLOW
        self._version += 1
        place = int(time)
        if place not in self._all_seconds:
            self._make_room()
        seconds = (
            self._seconds.setdefault(place, {}).setdefault(name, Second()),
            self._all_seconds.setdefault(place, Second()),
        )
        for second in seconds:
            second.version = self._version
        return *seconds, self._totals.setdefault(name, Second()), self._all_totals

    def _make_room(self) -> None:
        """Forget the second that came first where there are enough: not the oldest, since a clock may have been set."""
        while len(self._all_seconds) >= self._kept:
            first = next(iter(self._all_seconds))
            del self._all_seconds[first], self._seconds[first]

    def _told_of(self, time: int, stores: Collection[str]) -> Second:
        """What is told of a second: a copy, or the sum of some stores. With the lock."""
        return _sum(self._seconds[time], stores) if stores else _sum({"": self._all_seconds[time]}, ())


def _sum(by_store: dict[str, Second], stores: Collection[str]) -> Second:
    total = Second()
    for store, second in by_store.items():
        if not stores or store in stores:
            total.add(second)
    return total


def _bucket_of(duration: float) -> int:
    mantissa, exponent = math.frexp(max(duration, _SHORTEST))
    return exponent * _STEPS + int((mantissa - 0.5) * 2 * _STEPS)


def _duration_of(bucket: int) -> float:
    """The middle of the bucket."""
    exponent, step = divmod(bucket, _STEPS)
    return math.ldexp(0.5 + (step + 0.5) / _STEPS / 2, exponent)
