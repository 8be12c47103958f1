"""Counts of the last minute by store and operation, for the table of the page."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from encore_events.forks import renew_in_child
from encore_events.text import text_of
from encore_storage.events import StoreProgressEndEvent
from encore_storage.latencies import bucket_of
from encore_storage.server.counts import Counts
from encore_storage.subscribers.catalogue import OPERATIONS, OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES, closed
from encore_storage.subscribers.odd_values import countable, name_of

Key = tuple[str, str]
"""A store and an operation."""

_PERIOD = 5  # seconds that are counted together
_PERIODS = 12  # a minute, the last period being incomplete


@dataclass(slots=True)
class PeriodCounts(Counts):
    """The counts of one period."""

    NAMES: ClassVar[tuple[str, ...]] = ("operations", "errors", "hits", "misses", "retries", "bytes")

    operations: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    retries: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Row:
    """The counts of one operation of one store, by period.

    Attributes:
        has_hits: whether its hit ratio means something: it reads values, or has missed.
    """

    has_hits: bool
    periods: dict[int, PeriodCounts] = field(default_factory=dict)


class OperationTable:
    """Counts of the last minute by store and operation. Thread-safe.

    Stores beyond the first `MAX_VALUES` share the name `OVERFLOW`, and unknown operations the name 'other', as in the
    metrics.
    """

    def __init__(self) -> None:
        self.version = 0
        self._stores: set[str] = set()
        self._rows: dict[Key, _Row] = {}
        self._latest = 0
        self._renew()
        renew_in_child(self, OperationTable._renew)

    def __repr__(self) -> str:
        return f"<OperationTable: {len(self._rows)} rows>"

    def count_end(self, time: float, event: StoreProgressEndEvent) -> None:
        """Count an operation that ended at `time`, with the bytes that no step has reported."""
        attempts, outcome = event.attempts, name_of(event.outcome)
        retries = 0 if attempts == 1 else max(int(countable(attempts)) - 1, 0)
        bucket, delta = bucket_of(countable(event.duration)), int(countable(event.delta))
        with self._lock:
            row = self._row(event.store, event.operation)
            counts = self._counts_at(time, row)
            counts.operations += 1
            counts.retries += retries
            counts.bytes += delta
            counts.latencies[bucket] += 1
            if outcome == "ok":
                counts.hits += 1
            elif outcome == "error":
                counts.errors += 1
            elif outcome == "miss":
                counts.misses += 1
                row.has_hits = True

    def count_bytes(self, time: float, store: str | None, operation: str | None, count: int) -> None:
        """Count bytes that moved at `time`."""
        count = int(countable(count))
        with self._lock:
            self._counts_at(time, self._row(store, operation)).bytes += count

    def totals(self, now: float, stores: Collection[str]) -> dict[Key, tuple[PeriodCounts, bool]]:
        """Return the counts of the minute before `now` by row, each with whether its hit ratio means something."""
        with self._lock:
            return {
                key: (self._total(row, now), row.has_hits)
                for key, row in self._rows.items()
                if not stores or key[0] in stores
            }

    def key_of(self, store: object, operation: object) -> Key:
        """Return the key of the row of an operation."""
        with self._lock:
            return self._key(store, operation)

    def changes(self, version: int) -> list[Any]:
        """Return the periods that have changed since `version`, by store and operation, as JSON."""
        with self._lock:
            return [
                [store, operation, row.has_hits, period, *counts.message()]
                for (store, operation), row in self._rows.items()
                for period, counts in row.periods.items()
                if counts.version > version
            ]

    def replace(self, periods: Sequence[Sequence[Any]], into: OperationTable) -> None:
        """Take the changes of a copied table, and add the differences to a sum of tables.

        Raises ValueError or TypeError if they are malformed.
        """
        for store, operation, has_hits, period, *message in periods:
            counts, difference = PeriodCounts.of(message), PeriodCounts()
            difference.add(counts)
            time = int(period) * _PERIOD
            with self._lock:
                row = self._row(store, operation)
                row.has_hits |= bool(has_hits)
                if (known := row.periods.get(int(period))) is not None:
                    difference.subtract(known)
                self._counts_at(time, row)
                counts.version = self.version
                row.periods[int(period)] = counts
            into.add(time, store, operation, difference, has_hits=bool(has_hits))

    def add(self, time: float, store: str, operation: str, difference: PeriodCounts, *, has_hits: bool) -> None:
        """Add to the counts of the period of `time`."""
        with self._lock:
            row = self._row(store, operation)
            row.has_hits |= has_hits
            self._counts_at(time, row).add(difference)

    def _renew(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one at the fork

    def _key(self, store: object, operation: object) -> Key:
        """Return the key of the row. The caller has the lock."""
        name = text_of(store)
        if name not in self._stores and len(self._stores) >= MAX_VALUES:
            name = OVERFLOW
        return name, closed(operation, OPERATIONS)

    def _row(self, store: object, operation: object) -> _Row:
        if type(store) is str and type(operation) is str:
            row = self._rows.get((store, operation))  # the attributes of most events are the key of their row
            if row is not None:
                return row
        key = self._key(store, operation)
        row = self._rows.get(key)
        if row is None:
            self._stores.add(key[0])
            row = self._rows[key] = _Row(has_hits=key[1] == "get")
        return row

    def _counts_at(self, time: float, row: _Row) -> PeriodCounts:
        """Return the counts of the period. The caller has the lock."""
        period = int(time // _PERIOD)
        if period != self._latest:
            self._latest = period
            self._evict(period)
        self.version += 1
        counts = row.periods.get(period)
        if counts is None:
            counts = row.periods[period] = PeriodCounts()
        counts.version = self.version
        return counts

    def _evict(self, latest: int) -> None:
        """Drop the periods that no minute around `latest` includes: the clock may have been set."""
        for row in self._rows.values():
            for period in [one for one in row.periods if abs(latest - one) >= _PERIODS]:
                del row.periods[period]

    def _total(self, row: _Row, now: float) -> PeriodCounts:
        total, first = PeriodCounts(), _first_period(now)
        for period, counts in row.periods.items():
            if first <= period <= now // _PERIOD:
                total.add(counts)
        return total


def rows(
    tables: Iterable[OperationTable],
    now: float,
    started: float,
    stores: Collection[str],
    in_flight: Mapping[Key, int],
    limit: int,
) -> tuple[list[dict[str, Any]], int]:
    """Return at most `limit` rows of the sum of tables, the busiest first, and the number of those omitted.

    Args:
        tables: the tables.
        now: seconds since the epoch.
        started: the time from which operations are counted, in seconds since the epoch.
        stores: the stores to return; by default, all.
        in_flight: the number of operations in flight by row.
        limit: the maximum number of rows.
    """
    seconds = max(now - max(_first_period(now) * _PERIOD, started), 1.0)
    totals, with_hits = {key: PeriodCounts() for key in in_flight if not stores or key[0] in stores}, set[Key]()
    for table in tables:
        for key, (counts, has_hits) in table.totals(now, stores).items():
            totals.setdefault(key, PeriodCounts()).add(counts)
            if has_hits:
                with_hits.add(key)
    busiest = sorted(totals, key=lambda key: (-totals[key].operations, -in_flight.get(key, 0), key))
    shown = [
        _row_of(key, totals[key], in_flight.get(key, 0), seconds, has_hits=key in with_hits) for key in busiest[:limit]
    ]
    return shown, len(busiest[limit:])


def _first_period(now: float) -> int:
    """Return the first period of the minute before `now`."""
    return int(now // _PERIOD) - _PERIODS + 1


def _row_of(key: Key, total: PeriodCounts, in_flight: int, seconds: float, *, has_hits: bool) -> dict[str, Any]:
    found = total.hits + total.misses
    return {
        "store": key[0],
        "operation": key[1],
        "rate": total.operations / seconds,
        "errors": total.errors,
        "misses": total.misses,
        "hit_ratio": total.hits / found if has_hits and found else None,
        "retries": total.retries,
        "bytes_per_second": total.bytes / seconds,
        "p50": total.latencies.quantile(0.5),
        "p99": total.latencies.quantile(0.99),
        "in_flight": in_flight,
    }
