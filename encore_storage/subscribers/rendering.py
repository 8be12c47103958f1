"""The text of metrics, rendered from the series with cached labels.

It is what prometheus_client renders, at a small part of its cost, and it yields to other threads meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from encore_storage.subscribers.catalogue import Metric
from encore_storage.subscribers.series import Histogram, Histograms, Labels, Numbers, Series
from encore_storage.subscribers.yielding import EVERY

_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n"})


def edges_of(metric: Metric) -> list[str]:
    """Return the values of the label `le`."""
    return [_as_in_go(edge) for edge in (*metric.buckets, math.inf)]


class _Text(NamedTuple):
    """The text of a series.

    Attributes:
        lines: the text before each value, which ends the line before it, and a place for the value.
        zero: all lines with zeros.
    """

    lines: list[str]
    zero: str


class Renderer:
    """Renders series, and keeps the text of their names and labels."""

    def __init__(self) -> None:
        self._headers: dict[tuple[str, bool], str] = {}
        self._texts: dict[str, dict[Labels, _Text]] = {}

    def render(self, series: Series, *, openmetrics: bool) -> bytes:
        """Return the series as text: in the format of Prometheus, or in OpenMetrics without the final `# EOF`."""
        pieces = list[str]()
        for metric, family in series.families:
            name = metric.name, openmetrics
            pieces.append(
                self._headers.get(name) or self._headers.setdefault(name, _header(metric, openmetrics=openmetrics))
            )
            texts = self._texts.setdefault(metric.name, {})
            if len(texts) > 2 * len(family) + 100:  # most of those series have ended with their processes
                texts.clear()
            if isinstance(family, Numbers):
                _add_numbers(pieces, metric, family, texts, series.yielder.pause)
            else:
                _add_histograms(pieces, metric, family, texts, series.yielder.pause, with_exemplars=openmetrics)
        return "".join(pieces).encode(errors="replace")


def _header(metric: Metric, *, openmetrics: bool) -> str:
    if not openmetrics:
        return f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPED)}\n# TYPE {metric.name} {metric.type}\n"
    name = metric.name.removesuffix("_total")
    unit = f"# UNIT {name} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {name} {metric.help.translate(_ESCAPED)}\n# TYPE {name} {metric.type}\n{unit}"


def _add_numbers(
    pieces: list[str], metric: Metric, family: Numbers, texts: dict[Labels, _Text], pause: Callable[[], None]
) -> None:
    for number, (labels, value) in enumerate(family.items(), 1):
        text = texts.get(labels)
        if text is None:
            name = f"{metric.name}{_labels(metric, labels)} "
            text = texts[labels] = _Text([name], f"{name}0.0\n")
        if value:
            pieces += (text.lines[0], _number(value), "\n")
        else:
            pieces.append(text.zero)
        if not number % EVERY:
            pause()


def _add_histograms(
    pieces: list[str],
    metric: Metric,
    family: Histograms,
    texts: dict[Labels, _Text],
    pause: Callable[[], None],
    *,
    with_exemplars: bool,
) -> None:
    for number, (labels, histogram) in enumerate(family.items(), 1):
        if not number % EVERY:
            pause()
        text = texts.get(labels)
        if text is None:
            text = texts[labels] = _histogram_text(metric, labels)
        if not any(histogram.counts):
            pieces.append(text.zero)
            continue
        numbers = list(map(repr, accumulate(histogram.counts)))
        numbers += (numbers[-1], _number(histogram.total))
        if with_exemplars:
            for position in histogram.exemplars:
                numbers[position] += _exemplar(histogram, position)
        lines = text.lines.copy()
        lines[1::2] = numbers
        pieces += lines
        pieces.append("\n")


def _histogram_text(metric: Metric, labels: Labels) -> _Text:
    names = [f"{metric.name}_bucket{_labels(metric, labels, le=edge)} " for edge in edges_of(metric)]
    names += (f"{metric.name}_{name}{_labels(metric, labels)} " for name in ("count", "sum"))
    lines = [part for name in names for part in (name if name is names[0] else f"\n{name}", "")]
    return _Text(lines, "".join(f"{name}0.0\n" for name in names))


def _labels(metric: Metric, labels: Labels, **others: str) -> str:
    """Return the labels in the order of prometheus_client."""
    values = sorted({**dict(zip(metric.labels, labels, strict=True)), **others}.items())
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in values) + "}"


def _number(value: float) -> str:
    text = repr(value)
    return _as_in_go(value) if text[-1] in "fn" else text  # infinite, or not a number


def _as_in_go(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # it has no type hints


def _exemplar(histogram: Histogram, position: int) -> str:
    exemplar = histogram.exemplar(position)
    operation_id = exemplar.operation_id.translate(_ESCAPED)
    return f' # {{operation_id="{operation_id}"}} {_number(exemplar.value)} {_number(exemplar.timestamp)}'
