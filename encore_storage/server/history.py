"""Counts of the last ten minutes by second and store, for the charts of the page."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from encore_events.forks import renew_in_child
from encore_events.text import text_of
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.latencies import bucket_of
from encore_storage.server.counts import Counts
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES
from encore_storage.subscribers.odd_values import countable, name_of

SECONDS = 600  # that are kept by default


@dataclass(slots=True)
class SecondCounts(Counts):
    """The counts of one second, or of the whole run."""

    NAMES: ClassVar[tuple[str, ...]] = (
        *("operations", "cancelled", "errors", "read", "written", "commits", "rollbacks"),
    )

    operations: int = 0
    cancelled: int = 0
    errors: int = 0
    read: int = 0
    written: int = 0
    commits: int = 0
    rollbacks: int = 0


class HistoryCursor(NamedTuple):
    """The part of some histories that a client has.

    Attributes:
        time: the client has the seconds that were complete then.
        versions: the versions of the histories then, each with the name of its history.
    """

    time: float = 0.0
    versions: tuple[tuple[object, int], ...] = ()


START = HistoryCursor()


class History:
    """Counts by second and store. Thread-safe.

    Stores beyond the first `MAX_VALUES` share the name `OVERFLOW`, as in the metrics.

    An event is counted once, by store in the latest second. Its counts are added to all sums when that second is over
    or somebody reads.
    """

    def __init__(self, seconds: int = SECONDS) -> None:
        self._version = 0
        self.kept = seconds
        self._latest = 0
        self._waiting: dict[str, SecondCounts] = {}  # of the latest second, to be added to the sums
        self._seconds: dict[int, dict[str, SecondCounts]] = {}
        self._totals: dict[str, SecondCounts] = {}
        self._all_seconds: dict[int, SecondCounts] = {}
        self._all_totals = SecondCounts()
        self._renew()
        renew_in_child(self, History._renew)

    def __repr__(self) -> str:
        return f"<History: {len(self._seconds)} seconds of {len(self._totals)} stores>"

    @property
    def version(self) -> int:
        """The number of changes so far."""
        with self._reading():
            return self._version

    @property
    def stores(self) -> list[str]:
        """The sorted names of all stores that were counted."""
        with self._reading():
            return sorted(self._totals)

    def count_operation(self, time: float, event: StoreProgressEndEvent) -> None:
        """Count an operation that ended at `time`."""
        outcome, bucket = name_of(event.outcome), bucket_of(countable(event.duration))
        with self._lock:
            counts = self._counts_at(time, event.store)
            counts.operations += 1
            counts.errors += outcome == "error"
            counts.cancelled += outcome == "cancelled"
            counts.latencies[bucket] += 1

    def count_bytes(self, time: float, store: str | None, direction: object, count: int) -> None:
        """Count bytes that moved at `time`."""
        count, direction = int(countable(count)), name_of(direction)
        with self._lock:
            counts = self._counts_at(time, store)
            if direction == "read":
                counts.read += count
            elif direction == "write":
                counts.written += count

    def count_transaction(self, time: float, event: StoreTransactionEndEvent) -> None:
        """Count a commit, or a failure as a rollback; a transaction that was closed is neither."""
        outcome = name_of(event.outcome)
        with self._lock:
            counts = self._counts_at(time, event.store)
            counts.commits += outcome == "committed"
            counts.rollbacks += outcome not in ("committed", "closed")

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """Return all counts since the start, of these stores or (by default) all."""
        with self._reading():
            total = _sum(self._totals, stores) if stores else self._all_totals
            return {name: getattr(total, name) for name in SecondCounts.NAMES}

    def seconds_over(self, until: float, version: int, time: float) -> tuple[list[int], int | None]:
        """Return the seconds over at `until` that are new or changed, and the latest of all that are over.

        A client has the seconds that were over at `time`, in the state of `version`.
        """
        with self._reading():
            over = [second for second in self._all_seconds if second + 1 <= until]
            new = [one for one in over if one + 1 > time or self._all_seconds[one].version > version]
        return new, max(over, default=None)

    def sums(self, seconds: Iterable[int], stores: Collection[str]) -> list[SecondCounts]:
        """Return the counts of these seconds, as copies."""
        with self._reading():
            return [self._sum_of(second, stores) for second in seconds]

    def changes(self, version: int) -> tuple[list[Any], list[Any]]:
        """Return the seconds and the totals, both by store, that have changed since `version`, as JSON."""
        with self._reading():
            seconds = [
                [second, store, *counts.message()]
                for second, all_stores in self._all_seconds.items()
                if all_stores.version > version
                for store, counts in self._seconds[second].items()
                if counts.version > version
            ]
            totals = [[store, counts.message()[0], []] for store, counts in self._totals.items()]
        return seconds, totals

    def replace(self, seconds: Sequence[Sequence[Any]], totals: Sequence[Sequence[Any]], into: History) -> None:
        """Take the changes of a copied history, and add the differences to a sum of histories.

        Raises ValueError or TypeError if they are malformed.
        """
        for store, *message in totals:  # first: they decide which stores share a name
            self._replace(None, str(store), SecondCounts.of(message), into)
        for second, store, *message in seconds:
            self._replace(int(second), str(store), SecondCounts.of(message), into)

    def _replace(self, second: int | None, store: str, counts: SecondCounts, into: History) -> None:
        difference = SecondCounts()
        difference.add(counts)
        with self._lock:
            name = self._admit(store, second)
            place = self._totals if second is None else self._seconds[second]
            if (known := place.get(name)) is not None:
                difference.subtract(known)
            counts.version = self._version
            place[name] = counts
            self._sum_at(second).add(difference)
        into.add(second, store, difference)

    def add(self, second: int | None, store: str, difference: SecondCounts) -> None:
        """Add to the counts of a second, or of the whole run."""
        with self._lock:
            name = self._admit(store, second)
            place = self._totals if second is None else self._seconds[second]
            difference.version = self._version
            place.setdefault(name, SecondCounts()).add(difference)
            self._sum_at(second).add(difference)

    def _renew(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one at the fork

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Acquire the lock, with everything added to the sums."""
        with self._lock:
            self._add_waiting()
            yield

    def _counts_at(self, time: float, store: object) -> SecondCounts:
        """Return the waiting counts of a store in a second. The caller has the lock."""
        second, name = int(time), store if type(store) is str else text_of(store)
        if second != self._latest:
            self._add_waiting()
            self._latest = second
        counts = self._waiting.get(name)
        if counts is None:
            counts = self._waiting[name] = SecondCounts()
        return counts

    def _add_waiting(self) -> None:
        """Add what waits to the second and the totals, of the store and of all. The caller has the lock."""
        while self._waiting:
            store = next(iter(self._waiting))  # in the order in which they were counted: the last ones may overflow
            counts = self._waiting.pop(store)
            name = self._admit(store, self._latest)
            counts.version = self._version
            self._seconds[self._latest].setdefault(name, SecondCounts()).add(counts)
            self._all_seconds[self._latest].add(counts)
            self._totals.setdefault(name, SecondCounts()).add(counts)
            self._all_totals.add(counts)

    def _admit(self, store: str, second: int | None) -> str:
        """Make room for a store in a second, and return the name under which it is counted. The caller has the lock."""
        self._version += 1
        if second is not None and second not in self._all_seconds:
            self._evict(second)
            self._all_seconds[second], self._seconds[second] = SecondCounts(), {}
        return OVERFLOW if store not in self._totals and len(self._totals) >= MAX_VALUES else store

    def _evict(self, second: int) -> None:
        """Make room for a second: evict the most distant one, not the oldest, since the clock may have been set."""
        while len(self._all_seconds) >= self.kept:
            most_distant = max(self._all_seconds, key=lambda one: abs(second - one))
            del self._all_seconds[most_distant], self._seconds[most_distant]

    def _sum_at(self, second: int | None) -> SecondCounts:
        total = self._all_totals if second is None else self._all_seconds[second]
        total.version = self._version
        return total

    def _sum_of(self, second: int, stores: Collection[str]) -> SecondCounts:
        if second not in self._all_seconds:
            return SecondCounts()
        return _sum(self._seconds[second], stores) if stores else _sum({"": self._all_seconds[second]}, ())


def columns(
    histories: Mapping[object, History], until: float, stores: Collection[str] = (), since: HistoryCursor = START
) -> dict[str, list[Any]]:
    """Return the sum of histories in the seconds that were over at `until`, as columns, without empty seconds.

    Args:
        histories: the histories by name.
        until: seconds since the epoch.
        stores: the stores to count; by default, all.
        since: the cursor of the client, which limits the result to new and changed seconds.
    """
    new = _new_seconds(histories, until, since)
    sums = [SecondCounts() for _ in new]
    for history in histories.values():
        for total, counts in zip(sums, history.sums(new, stores), strict=True):
            total.add(counts)
    result: dict[str, list[Any]] = {"time": new}
    for name in SecondCounts.NAMES:
        result[name] = [getattr(each, name) for each in sums]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        result[name] = [each.latencies.quantile(share) for each in sums]
    return result


def cursor(histories: Mapping[object, History], until: float) -> HistoryCursor:
    """Return the cursor of a client that gets `columns(histories, until)` next."""
    return HistoryCursor(until, tuple((name, history.version) for name, history in histories.items()))


def _new_seconds(histories: Mapping[object, History], until: float, since: HistoryCursor) -> list[int]:
    versions = dict(since.versions)
    new, latest, kept = set[int](), 0, SECONDS
    for name, history in histories.items():
        seconds, last = history.seconds_over(until, versions.get(name, -1), since.time if name in versions else 0.0)
        new.update(seconds)
        latest, kept = max(latest, last or 0), history.kept
    return sorted(second for second in new if second > latest - kept)


def _sum(by_store: Mapping[str, SecondCounts], stores: Collection[str]) -> SecondCounts:
    total = SecondCounts()
    for counts in _of(by_store, stores):
        total.add(counts)
    return total


def _of(by_store: Mapping[str, SecondCounts], stores: Collection[str]) -> Iterator[SecondCounts]:
    return (counts for store, counts in by_store.items() if not stores or store in stores)
