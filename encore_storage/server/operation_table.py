"""Counts of the last minute by store and operation, for the table of the page."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from encore_events.forks import renew_in_child
from encore_storage.events import StoreProgressEndEvent
from encore_storage.server.latencies import Latencies
from encore_storage.subscribers.catalogue import OPERATIONS, OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES, closed

Key = tuple[str, str]
"""A store and an operation."""

_PERIOD = 5  # seconds that are counted together
_PERIODS = 12  # a minute, the last period being incomplete


@dataclass(slots=True)
class _Counts:
    """The counts of one period."""

    operations: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    retries: int = 0
    bytes: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, other: _Counts) -> None:
        self.operations += other.operations
        self.errors += other.errors
        self.hits += other.hits
        self.misses += other.misses
        self.retries += other.retries
        self.bytes += other.bytes
        self.latencies.update(other.latencies)


@dataclass(slots=True)
class _Row:
    """The counts of one operation of one store, by period.

    Attributes:
        has_hits: whether its hit ratio means something: it reads values, or has missed.
    """

    has_hits: bool
    periods: dict[int, _Counts] = field(default_factory=dict)


class OperationTable:
    """Counts of the last minute by store and operation. Thread-safe.

    Stores beyond the first `MAX_VALUES` share the name `OVERFLOW`, and unknown operations the name 'other', as in the
    metrics.

    Args:
        started: the time from which operations are counted, in seconds since the epoch.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._stores: set[str] = set()
        self._rows: dict[Key, _Row] = {}
        self._latest = 0
        self._renew()
        renew_in_child(self, OperationTable._renew)

    def __repr__(self) -> str:
        return f"<OperationTable: {len(self._rows)} rows>"

    def count_end(self, time: float, event: StoreProgressEndEvent) -> None:
        """Count an operation that ended at `time`, with the bytes that no step has reported."""
        retries, duration, delta = max(event.attempts - 1, 0), float(event.duration), int(event.delta)
        with self._lock:
            row = self._row(event.store, event.operation)
            counts = self._counts_at(time, row)
            counts.operations += 1
            counts.errors += event.outcome == "error"
            counts.hits += event.outcome == "ok"
            counts.misses += event.outcome == "miss"
            counts.retries += retries
            counts.bytes += delta
            counts.latencies.observe(duration)
            row.has_hits |= event.outcome == "miss"

    def count_bytes(self, time: float, store: str | None, operation: str | None, count: int) -> None:
        """Count bytes that moved at `time`."""
        with self._lock:
            self._counts_at(time, self._row(store, operation)).bytes += count

    def rows(
        self, now: float, stores: Collection[str], in_flight: Mapping[tuple[str, str], int], limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return at most `limit` rows, the busiest first, and the number of those omitted.

        Args:
            now: seconds since the epoch.
            stores: the stores to return; by default, all.
            in_flight: the number of operations in flight by store and operation.
            limit: the maximum number of rows.
        """
        first = int(now // _PERIOD) - _PERIODS + 1
        seconds = max(now - max(first * _PERIOD, self._started), 1.0)
        with self._lock:
            waiting: dict[Key, int] = {}
            for (store, operation), count in in_flight.items():
                key = self._key(store, operation)
                waiting[key] = waiting.get(key, 0) + count
            totals = {
                key: (self._total(key, first, now), waiting.get(key, 0))
                for key in {*self._rows, *waiting}
                if not stores or key[0] in stores
            }
            with_hits = {key for key, row in self._rows.items() if row.has_hits}
        busiest = sorted(totals, key=lambda key: (-totals[key][0].operations, -totals[key][1], key))
        shown = [_row_of(key, *totals[key], seconds, has_hits=key in with_hits) for key in busiest[:limit]]
        return shown, len(busiest[limit:])

    def _renew(self) -> None:
        self._lock = threading.Lock()  # another thread may have held the old one at the fork

    def _key(self, store: object, operation: object) -> Key:
        """Return the key of the row. The caller has the lock."""
        name = str(store)
        if name not in self._stores and len(self._stores) >= MAX_VALUES:
            name = OVERFLOW
        return name, closed(operation, OPERATIONS)

    def _row(self, store: object, operation: object) -> _Row:
        key = self._key(store, operation)
        row = self._rows.get(key)
        if row is None:
            self._stores.add(key[0])
            row = self._rows[key] = _Row(has_hits=key[1] == "get")
        return row

    def _counts_at(self, time: float, row: _Row) -> _Counts:
        """Return the counts of the period. The caller has the lock."""
        period = int(time // _PERIOD)
        if period != self._latest:
            self._latest = period
            self._evict(period)
        return row.periods.setdefault(period, _Counts())

    def _evict(self, latest: int) -> None:
        """Drop the periods that no minute around `latest` includes: the clock may have been set."""
        for row in self._rows.values():
            for period in [one for one in row.periods if abs(latest - one) >= _PERIODS]:
                del row.periods[period]

    def _total(self, key: Key, first: int, now: float) -> _Counts:
        total, row = _Counts(), self._rows.get(key)
        for period, counts in () if row is None else row.periods.items():
            if first <= period <= now // _PERIOD:
                total.add(counts)
        return total


def _row_of(key: Key, total: _Counts, in_flight: int, seconds: float, *, has_hits: bool) -> dict[str, Any]:
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
