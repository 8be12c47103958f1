"""The text of metrics, rendered from the series with cached labels.

It is what prometheus_client renders, at a small part of its cost, and it yields to other threads meanwhile.
"""

from __future__ import annotations

import math
import time

from prometheus_client.utils import floatToGoString

from encore_storage.subscribers.catalogue import Metric
from encore_storage.subscribers.series import YIELD_EVERY, Histogram, Histograms, Labels, Numbers, Series

_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n"})


def edges_of(metric: Metric) -> list[str]:
    """Return the values of the label `le`."""
    return [_as_in_go(edge) for edge in (*metric.buckets, math.inf)]


class Renderer:
    """Renders series, and keeps the text of their names and labels."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[Labels, list[str]]] = {}

    def render(self, series: Series, *, openmetrics: bool) -> bytes:
        """Return the series as text: in the format of Prometheus, or in OpenMetrics without the final `# EOF`."""
        pieces = list[str]()
        for metric, family in series.families:
            pieces.append(_header(metric, openmetrics=openmetrics))
            texts = self._texts.setdefault(metric.name, {})
            if len(texts) > 2 * len(family) + 100:  # most of those series have ended with their processes
                texts.clear()
            if isinstance(family, Numbers):
                _add_numbers(pieces, metric, family, texts)
            else:
                _add_histograms(pieces, metric, family, texts, with_exemplars=openmetrics)
        return "".join(pieces).encode(errors="backslashreplace")


def _header(metric: Metric, *, openmetrics: bool) -> str:
    if not openmetrics:
        return f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPED)}\n# TYPE {metric.name} {metric.type}\n"
    name = metric.name.removesuffix("_total")
    unit = f"# UNIT {name} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {name} {metric.help.translate(_ESCAPED)}\n# TYPE {name} {metric.type}\n{unit}"


def _add_numbers(pieces: list[str], metric: Metric, family: Numbers, texts: dict[Labels, list[str]]) -> None:
    for number, (labels, value) in enumerate(family.items(), 1):
        text = texts.get(labels)
        if text is None:
            text = texts[labels] = [f"{metric.name}{{{_labels(metric, labels)}}} "]
        pieces += (*text, _number(value), "\n")
        if not number % YIELD_EVERY:
            time.sleep(0)


def _add_histograms(
    pieces: list[str], metric: Metric, family: Histograms, texts: dict[Labels, list[str]], *, with_exemplars: bool
) -> None:
    for number, (labels, histogram) in enumerate(family.items(), 1):
        text = texts.get(labels)
        if text is None:
            text = texts[labels] = _histogram_text(metric, labels)
        cumulative, total = 0.0, "0"
        for position, count in enumerate(histogram.counts):
            if count:
                cumulative += count
                total = _number(cumulative)
            pieces += (text[position], total)
            if with_exemplars and position in histogram.exemplars:
                pieces.append(_exemplar(histogram, position))
        pieces += (text[-2], total, text[-1], _number(histogram.total), "\n")
        if not number % YIELD_EVERY:
            time.sleep(0)


def _histogram_text(metric: Metric, labels: Labels) -> list[str]:
    """Return the text before each value, which ends the line before it."""
    text = _labels(metric, labels)
    buckets = [f'\n{metric.name}_bucket{{{text},le="{edge}"}} ' for edge in edges_of(metric)]
    buckets[0] = buckets[0].lstrip("\n")
    return [*buckets, f"\n{metric.name}_count{{{text}}} ", f"\n{metric.name}_sum{{{text}}} "]


def _labels(metric: Metric, labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(metric.labels, labels, strict=True))


def _number(value: float) -> str:
    text = repr(value)
    return _as_in_go(value) if text[-1] in "fn" else text  # infinite, or not a number


def _as_in_go(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # it has no type hints


def _exemplar(histogram: Histogram, position: int) -> str:
    exemplar = histogram.exemplars[position]
    operation_id = exemplar.operation_id.translate(_ESCAPED)
    return f' # {{operation_id="{operation_id}"}} {_number(exemplar.value)} {_number(exemplar.timestamp)}'
