"""What the metrics are counted in: one series for each set of label values, exact in any number of threads.

prometheus_client's own children would do, at more than twice the cost, and a lock that a garbage
collection can meet while it is held. The locks here are reentrant and no call stands between the
reading and the writing of a number: what a `__del__` tells in the middle of a change is counted too.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from encore_storage.subscribers.catalogue import Metric


class Exemplar(NamedTuple):
    """One observation, told with the operation that it is of.

    Attributes:
        operation_id: which operation.
        value: what was observed.
        timestamp: when, in seconds since the epoch.
    """

    operation_id: str
    value: float
    timestamp: float


class Counter:
    """A number that only grows."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.RLock()
        self.value: float = 0

    def renew(self) -> None:
        """Have a lock that nobody holds, in a forked child."""
        self._lock = threading.RLock()

    def inc(self, amount: float = 1) -> None:
        """Grow by `amount`, which is not negative."""
        with self._lock:
            self.value += amount


class Gauge:
    """A number that is what it was last set to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Start at zero."""
        self.value: float = 0

    def renew(self) -> None:
        """Do nothing in a forked child: there is no lock."""


class Histogram:
    """How many observations fell into which bucket, and their sum.

    Attributes:
        edges: the upper edges of the buckets, without infinity.
        exemplars: the latest exemplar of a bucket, by its position.
    """

    __slots__ = ("_counts", "_lock", "_sum", "edges", "exemplars")

    def __init__(self, edges: tuple[float, ...]) -> None:
        """Start with nothing observed."""
        self.edges = edges
        self.exemplars: dict[int, Exemplar] = {}
        self._lock = threading.RLock()
        self._counts = [0] * (len(edges) + 1)
        self._sum: float = 0

    def renew(self) -> None:
        """Have a lock that nobody holds, in a forked child."""
        self._lock = threading.RLock()

    def observe(self, value: float) -> None:
        """Count `value` in its bucket; an edge belongs to the bucket below it."""
        position = bisect_left(self.edges, value)
        with self._lock:
            self._counts[position] += 1
            self._sum += value

    def exemplify(self, exemplar: Exemplar) -> None:
        """Keep `exemplar` as the latest of its bucket."""
        self.exemplars[bisect_left(self.edges, exemplar.value)] = exemplar

    def snapshot(self) -> tuple[list[int], float]:
        """The count of each bucket by itself, infinity last, and the sum of what they count."""
        with self._lock:
            return self._counts.copy(), self._sum


S = TypeVar("S", bound=Counter | Gauge | Histogram)


class Family(Generic[S]):
    """All series of one metric, by the values of its labels, in the order of the catalogue's label names."""

    def __init__(self, metric: Metric, make: Callable[[], S]) -> None:
        """Start without any series; `make` gives a new one."""
        self.metric = metric
        self._make = make
        self._series: dict[tuple[str, ...], S] = {}

    def __repr__(self) -> str:
        """Which metric, and of how many series."""
        return f"<Family {self.metric.name}: {len(self._series)} series>"

    def series(self, *labels: str) -> S:
        """The one series of these label values, made at zero on first use."""
        return self._series.get(labels) or self._series.setdefault(labels, self._make())

    def items(self) -> list[tuple[tuple[str, ...], S]]:
        """All label values and their series, as of now."""
        return list(self._series.items())

    def renew(self) -> None:
        """Go on counting in a forked child, whoever was counting at the fork."""
        for series in list(self._series.values()):
            series.renew()


def counters(metric: Metric) -> Family[Counter]:
    """The family of a counter."""
    return Family(metric, Counter)


def gauges(metric: Metric) -> Family[Gauge]:
    """The family of a gauge."""
    return Family(metric, Gauge)


def histograms(metric: Metric) -> Family[Histogram]:
    """The family of a histogram."""
    return Family(metric, lambda: Histogram(metric.buckets))
