"""Counts of the last ten minutes by second and store, for the charts of the page."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from encore_events.forks import renew_in_child
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.server.latencies import Latencies
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES

SECONDS = 600  # that are kept by default


@dataclass(slots=True)
class Counts:
    """The counts of one second, or of the whole run.

    Attributes:
        version: the version of the history at the latest change.
        latencies: the durations of the operations.
    """

    version: int = 0
    operations: int = 0
    cancelled: int = 0
    errors: int = 0
    read: int = 0
    written: int = 0
    commits: int = 0
    rollbacks: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, other: Counts) -> None:
        """Add the counts of `other`."""
        self.version = max(self.version, other.version)
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies.update(other.latencies)


_NAMES = ("operations", "cancelled", "errors", "read", "written", "commits", "rollbacks")


class HistoryCursor(NamedTuple):
    """The part of a history that a client has: the seconds complete at `time`, in the state of `version`."""

    version: int = 0
    time: float = 0.0


START = HistoryCursor()


class History:
    """Counts by second and store. Thread-safe.

    Stores beyond the first `MAX_VALUES` share the name `OVERFLOW`, as in the metrics.
    """

    def __init__(self, seconds: int = SECONDS) -> None:
        self._kept = seconds
        self._version = 0
        self._seconds: dict[int, dict[str, Counts]] = {}
        self._totals: dict[str, Counts] = {}
        self._all_seconds: dict[int, Counts] = {}
        self._all_totals = Counts()
        self._renew()
        renew_in_child(self, History._renew)

    def __repr__(self) -> str:
        return f"<History: {len(self._seconds)} seconds of {len(self._totals)} stores>"

    @property
    def stores(self) -> list[str]:
        """The sorted names of all stores that were counted."""
        with self._lock:
            return sorted(self._totals)

    def cursor(self, until: float) -> HistoryCursor:
        """Return the cursor of a client that gets `columns(until)` next."""
        return HistoryCursor(self._version, until)

    def count_operation(self, time: float, event: StoreProgressEndEvent) -> None:
        """Count an operation that ended at `time`."""
        with self._lock:
            for counts in self._counts_at(time, event.store):
                counts.operations += 1
                counts.errors += event.outcome == "error"
                counts.cancelled += event.outcome == "cancelled"
                counts.latencies.observe(event.duration)

    def count_bytes(self, time: float, store: str | None, direction: str | None, count: int) -> None:
        """Count bytes that moved at `time`."""
        with self._lock:
            for counts in self._counts_at(time, store):
                counts.read += count if direction == "read" else 0
                counts.written += count if direction == "write" else 0

    def count_transaction(self, time: float, event: StoreTransactionEndEvent) -> None:
        """Count a commit, or a failure as a rollback; a transaction that was closed is neither."""
        with self._lock:
            for counts in self._counts_at(time, event.store):
                counts.commits += event.outcome == "committed"
                counts.rollbacks += event.outcome not in ("committed", "closed")

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """Return all counts since the start, of these stores or (by default) all."""
        with self._lock:
            total = _sum(self._totals, stores) if stores else self._all_totals
            return {name: getattr(total, name) for name in _NAMES}

    def columns(self, until: float, stores: Collection[str] = (), since: HistoryCursor = START) -> dict[str, list[Any]]:
        """Return the seconds that were over at `until` as columns, ascending by `time`, without empty seconds.

        Args:
            until: seconds since the epoch.
            stores: the stores to count; by default, all.
            since: the cursor of the client, which limits the result to new and changed seconds.
        """
        with self._lock:
            over = [time for time in sorted(self._all_seconds) if time + 1 <= until]
            over = [time for time in over if time > over[-1] - self._kept]
            new = [time for time in over if time + 1 > since.time or self._all_seconds[time].version > since.version]
            counts = [self._counts_of(time, stores) for time in new]
        columns: dict[str, list[Any]] = {"time": new}
        for name in _NAMES:
            columns[name] = [getattr(each, name) for each in counts]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            columns[name] = [each.latencies.quantile(share) for each in counts]
        return columns

    def _renew(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one at the fork

    def _counts_at(self, time: float, store: str | None) -> Iterable[Counts]:
        """Return the counts of the second and the totals, of the store and of all. The caller has the lock."""
        name = str(store)
        if name not in self._totals and len(self._totals) >= MAX_VALUES:
            name = OVERFLOW
        self._version += 1
        second = int(time)
        if second not in self._all_seconds:
            self._evict()
        current = (
            self._seconds.setdefault(second, {}).setdefault(name, Counts()),
            self._all_seconds.setdefault(second, Counts()),
        )
        for counts in current:
            counts.version = self._version
        return *current, self._totals.setdefault(name, Counts()), self._all_totals

    def _evict(self) -> None:
        """Make room for a second: evict the first one added, not the oldest, since the clock may have been set."""
        while len(self._all_seconds) >= self._kept:
            first = next(iter(self._all_seconds))
            del self._all_seconds[first], self._seconds[first]

    def _counts_of(self, time: int, stores: Collection[str]) -> Counts:
        """Return a copy of the counts of a second, or the sum of some stores. The caller has the lock."""
        return _sum(self._seconds[time], stores) if stores else _sum({"": self._all_seconds[time]}, ())


def _sum(by_store: dict[str, Counts], stores: Collection[str]) -> Counts:
    total = Counts()
    for store, counts in by_store.items():
        if not stores or store in stores:
            total.add(counts)
    return total
