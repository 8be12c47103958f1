"""Metrics for Prometheus, counted from events."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import accumulate
from typing import Any, cast

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from encore_events.abstract import BaseEventManager
from encore_events.forks import renew_in_child
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.catalogue import MetricType
from encore_storage.subscribers.event_counter import Clock, EventCounter, Started
from encore_storage.subscribers.families import MAX_VALUES, AnyFamily, Families
from encore_storage.subscribers.in_progress import InProgress
from encore_storage.subscribers.series import Counter, Gauge, Histogram
from encore_storage.subscribers.series import Exemplar as KeptExemplar

_KINDS: Mapping[MetricType, Callable[..., Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class MetricsSubscriber(Subscriber):
    """Counts events in the metrics of `encore_storage.subscribers.catalogue.CATALOGUE`.

    Many subscribers may share a registry. The first one makes the metrics, with its `max_stores` and clocks, and the
    others join. Subscribers to the same event manager share one set of listeners, so no event is counted twice. These
    stay connected until the last of the subscribers disconnects. The counts stay even then.

    >>> from encore_events import EventManager
    >>> from encore_storage.stores import DictMemoryStore
    >>> manager, registry = EventManager(), CollectorRegistry()
    >>> with MetricsSubscriber(registry=registry).connect(manager):
    ...     DictMemoryStore(event_manager=manager).from_bytes("greeting", b"hello")
    >>> labels = {"store": "memory", "operation": "set", "direction": "write"}
    >>> registry.get_sample_value("encore_storage_transferred_bytes_total", labels)
    5

    Args:
        registry: where the metrics are exposed.
        max_stores: the number of values of the label store. Beyond it, the label says `_overflow`.
        clock: monotonic seconds, for ages.
        wall_clock: seconds since the epoch, for timestamps.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry = REGISTRY,
        max_stores: int = MAX_VALUES,
        clock: Clock = time.monotonic,
        wall_clock: Clock = time.time,
    ) -> None:
        super().__init__()
        self._registry = registry
        self._max_stores = max_stores
        self._clock = clock
        self._wall_clock = wall_clock

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        collector = _collectors.of(
            self._registry, lambda: _Collector(Families(self._max_stores), self._clock, self._wall_clock)
        )
        collector.join(event_manager, connection)


class _Collector(Collector):
    """The metrics of one registry, and the counters that count into them.

    As a custom collector it exposes no `_created` series, and measures ages at each scrape.
    """

    def __init__(self, families: Families, clock: Clock, wall_clock: Clock) -> None:
        self._families = families
        self._clock = clock
        self._wall_clock = wall_clock
        self._counters: weakref.WeakValueDictionary[int, EventCounter] = weakref.WeakValueDictionary()
        self.is_registered = False
        self._renew()
        renew_in_child(self, _Collector._renew)

    def __repr__(self) -> str:
        return f"<metrics of Encore, event managers observed: {len(self._living())}>"

    def join(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        """Share the counter of `event_manager` until `connection` is closed."""
        with self._lock:
            counter = self._counters.get(id(event_manager))
            if counter is None:
                counter = EventCounter(event_manager, self._families, clock=self._clock, wall_clock=self._wall_clock)
                self._counters[id(event_manager)] = counter
            counter.users += 1
            connection.callback(self._leave, counter)
        if not counter.is_connected:
            counter.connect()  # without the lock, since tracers run meanwhile

    def _leave(self, counter: EventCounter) -> None:
        """Disconnect the counter, unless another subscriber shares it."""
        with self._lock:
            counter.users -= 1
            if counter.users:
                return
            counter.is_connected = False
            connection = counter.connection.pop_all()
        connection.close()  # without the lock, too

    def describe(self) -> Iterator[Metric]:
        """Return the families without samples. The registry compares their names."""
        return (_exposed(family, with_samples=False) for family in self._families)

    def collect(self) -> Iterator[Metric]:
        self._measure()
        return (_exposed(family, with_samples=True) for family in self._families)

    def _measure(self) -> None:
        families, counters = self._families, self._living()
        operations = _starts(one.operations for one in counters)
        transactions = _starts(one.transactions for one in counters)
        now = self._clock()
        for labels, gauge in families.in_progress.items():
            gauge.value = len(operations[labels])
            families.oldest.series(*labels).value = now - min(operations[labels], default=now)
        for labels, gauge in families.transactions_in_progress.items():
            gauge.value = len(transactions[labels])

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def _living(self) -> list[EventCounter]:
        references = self._counters.valuerefs()  # a copy, since iterating over the dict itself is not thread-safe
        return [counter for reference in references if (counter := reference()) is not None]


class _Collectors:
    """The collector of each registry."""

    def __init__(self) -> None:
        self._collectors: weakref.WeakKeyDictionary[CollectorRegistry, _Collector] = weakref.WeakKeyDictionary()
        self._renew()
        renew_in_child(self, _Collectors._renew)

    def of(self, registry: CollectorRegistry, make: Callable[[], _Collector]) -> _Collector:
        """Return the collector of `registry`. The first call makes and registers it."""
        with self._lock:
            collector = self._collectors.get(registry)
            if collector is None:
                collector = self._collectors[registry] = make()
            if not collector.is_registered:  # new, or forked before another thread of the parent could register it
                registry.register(collector)
                collector.is_registered = True
            return collector

    def _renew(self) -> None:
        """Replace the lock in a forked child, and those of the registries, which a scrape may have held at the fork."""
        self._lock = threading.RLock()
        for reference in self._collectors.keyrefs():
            registry = reference()
            if registry is not None and hasattr(registry, "_lock"):
                registry._lock = threading.RLock()  # type: ignore[assignment]  # noqa: SLF001 (there is no other way)


_collectors = _Collectors()


def _starts(trackers: Iterable[InProgress[Started]]) -> Mapping[tuple[str, ...], list[float]]:
    """Return the starts of all items in progress, by labels."""
    starts = defaultdict[tuple[str, ...], list[float]](list)
    for tracker in trackers:
        for labels, start in list(tracker.values()):
            starts[labels].append(start)
    return starts


def _exposed(family: AnyFamily, *, with_samples: bool) -> Metric:
    """Return the family as a metric of prometheus_client."""
    metric = family.metric
    exposed: Any = _KINDS[metric.type](metric.name, metric.help, labels=metric.labels, unit=metric.unit)
    for labels, series in family.items() if with_samples else ():
        exposed.add_metric(labels, *_values(series))
    return cast("Metric", exposed)


def _values(series: Counter | Gauge | Histogram) -> tuple[object, ...]:
    """Return the arguments of `add_metric`: a value, or cumulative buckets and their sum."""
    if not isinstance(series, Histogram):
        return (series.value,)
    counts, total = series.snapshot()
    edges = (*series.edges, math.inf)
    exemplars = [_exemplar(series.exemplars.get(position)) for position in range(len(edges))]
    return list(zip(map(floatToGoString, edges), accumulate(counts), exemplars, strict=True)), total


def _exemplar(kept: KeptExemplar | None) -> Exemplar | None:
    return None if kept is None else Exemplar({"operation_id": kept.operation_id}, kept.value, kept.timestamp)
