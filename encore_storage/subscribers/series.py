"""The series that metrics are counted in, one per set of label values, exact in any number of threads.

prometheus_client's own children cost more than twice as much, and their lock can deadlock with the garbage collector.
The locks here are reentrant, and nothing is called between the reading and the writing of a number. So events that a
finalizer emits in the middle of a change are counted, too.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from encore_storage.subscribers.catalogue import Metric


class Exemplar(NamedTuple):
    """An observation with the id of its operation.

    Attributes:
        operation_id: the id.
        value: the observed value.
        timestamp: when it was observed, in seconds since the epoch.
    """

    operation_id: str
    value: float
    timestamp: float


class Locked:
    """An object with a reentrant lock."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Replace the lock in a forked child, since another thread may have held it at the fork."""
        self._lock = threading.RLock()


class Counter(Locked):
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        super().__init__()
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which is not negative."""
        with self._lock:
            self.value += amount


class Gauge:
    """A number that can be set."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def renew(self) -> None:
        """Do nothing in a forked child: there is no lock."""


class Histogram(Locked):
    """The number of observations in each bucket, and their sum.

    Attributes:
        edges: the upper edges of the buckets, without infinity.
        exemplars: the latest exemplar of each bucket, by the position of the bucket.
    """

    __slots__ = ("_counts", "_sum", "edges", "exemplars")

    def __init__(self, edges: tuple[float, ...]) -> None:
        super().__init__()
        self.edges = edges
        self.exemplars: dict[int, Exemplar] = {}
        self._counts = [0] * (len(edges) + 1)
        self._sum: float = 0

    def observe(self, value: float) -> None:
        """Count `value` in its bucket. An edge belongs to the bucket below it."""
        position = bisect_left(self.edges, value)
        with self._lock:
            self._counts[position] += 1
            self._sum += value

    def exemplify(self, exemplar: Exemplar) -> None:
        """Keep `exemplar` as the latest of its bucket."""
        self.exemplars[bisect_left(self.edges, exemplar.value)] = exemplar

    def snapshot(self) -> tuple[list[int], float]:
        """Return the count of each bucket (not cumulative, infinity last) and the sum of the observations."""
        with self._lock:
            return self._counts.copy(), self._sum


S = TypeVar("S", bound=Counter | Gauge | Histogram)


class Family(Generic[S]):
    """All series of one metric, by their label values in the order of the catalogue's label names."""

    def __init__(self, metric: Metric, make: Callable[[], S]) -> None:
        self.metric = metric
        self._make = make
        self._series: dict[tuple[str, ...], S] = {}

    def __repr__(self) -> str:
        return f"<Family {self.metric.name}: {len(self._series)} series>"

    def series(self, *labels: str) -> S:
        """Return the series of these label values, made at zero on first use."""
        return self._series.get(labels) or self._series.setdefault(labels, self._make())

    def items(self) -> list[tuple[tuple[str, ...], S]]:
        """Return a copy of all label values and their series."""
        return list(self._series.items())

    def renew(self) -> None:
        """Replace the locks of all series in a forked child."""
        for series in list(self._series.values()):
            series.renew()


def histograms(metric: Metric) -> Family[Histogram]:
    """Return the family of a histogram."""
    return Family(metric, lambda: Histogram(metric.buckets))
