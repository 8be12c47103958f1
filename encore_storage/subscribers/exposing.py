"""Collectors of prometheus_client that expose series, and the text of a registry that has one."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from encore_storage.subscribers import catalogue
from encore_storage.subscribers.catalogue import MetricType
from encore_storage.subscribers.rendering import Renderer, edges_of
from encore_storage.subscribers.series import Histogram, Histograms, Labels, Numbers, Series
from encore_storage.subscribers.yielding import Yielder

Encoder = Callable[[Any], bytes]
"""An encoder of prometheus_client: returns the text of a registry."""

_KINDS: Mapping[MetricType, Callable[..., Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class SeriesCollector(Collector):
    """A collector of series. As a custom one it exposes no `_created` series, and measures ages at each scrape."""

    def __init__(self) -> None:
        self._renderer = Renderer()
        self._yielder = Yielder()
        self._skipping = threading.local()

    @abstractmethod
    def series(self) -> Series:
        """Return the series as of now."""

    def describe(self) -> Iterator[Metric]:
        """Return the families without samples. The registry compares their names."""
        return (_family(metric) for metric in catalogue.CATALOGUE)

    def collect(self) -> Iterator[Metric]:
        """Return the families with their samples."""
        if hasattr(self._skipping, "collected"):
            self._skipping.collected = True
            return iter(())
        return (_exposed(metric, family) for metric, family in self.series().families)

    def render(self, *, openmetrics: bool) -> bytes:
        """Return the text of the metrics; in OpenMetrics without the final `# EOF`."""
        return self._renderer.render(self.series(), openmetrics=openmetrics)

    @contextmanager
    def skipped(self) -> Iterator[Callable[[], bool]]:
        """Collect nothing in this thread, and yield a function that returns whether the collector was asked."""
        self._skipping.collected = False
        try:
            yield lambda: bool(self._skipping.collected)
        finally:
            del self._skipping.collected


def render(registry: CollectorRegistry, collector: SeriesCollector | None, encode: Encoder, content_type: str) -> bytes:
    """Return the text of a registry: that of `collector` rendered directly, and that of all others by `encode`.

    Args:
        registry: the registry.
        collector: a collector that the registry may have.
        encode: the encoder of prometheus_client.
        content_type: what `encode` returns.
    """
    if collector is None or "escaping=dots" in content_type or "escaping=values" in content_type:
        return encode(registry)
    with collector.skipped() as was_asked:
        others = encode(registry)
        if not was_asked():
            return others
    return collector.render(openmetrics=content_type.startswith("application/openmetrics-text")) + others


def _family(metric: catalogue.Metric) -> Any:
    return _KINDS[metric.type](metric.name, metric.help, labels=metric.labels, unit=metric.unit)


def _exposed(metric: catalogue.Metric, series: Histograms | Numbers) -> Metric:
    """Return the series as a metric of prometheus_client."""
    family = _family(metric)
    if isinstance(series, Numbers):
        for labels, value in series.items():
            family.add_metric(_encodable(labels), value)
    else:
        for labels, histogram in series.items():
            family.add_metric(_encodable(labels), _buckets(metric, histogram), histogram.total)
    return cast("Metric", family)


def _encodable(labels: Labels) -> list[str]:
    """Return the labels with '?' for each lone surrogate: prometheus_client cannot encode these."""
    return [label if label.isascii() else label.encode(errors="replace").decode() for label in labels]


def _buckets(metric: catalogue.Metric, histogram: Histogram) -> list[tuple[str, float, Exemplar | None]]:
    """Return the cumulative buckets."""
    exemplars = (_exemplar(histogram, position) for position in range(len(histogram.counts)))
    return list(zip(edges_of(metric), accumulate(histogram.counts), exemplars, strict=True))


def _exemplar(histogram: Histogram, position: int) -> Exemplar | None:
    if position not in histogram.exemplars:
        return None
    kept = histogram.exemplar(position)
    return Exemplar({"operation_id": kept.operation_id}, kept.value, kept.timestamp)
