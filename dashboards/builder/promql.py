"""PromQL building blocks over the metrics of the catalogue."""

from __future__ import annotations

from typing import Literal

from encore_storage.subscribers.catalogue import LABEL_OVERFLOW, OPERATION_DURATION, Metric

TARGET = 'job=~"$job", instance=~"$instance"'
"""Matchers of every selector."""

STORE = 'store=~"$store"'

COUNTED = 'outcome!="cancelled"'
"""Operations that count for the objective; a cancelled one had neither a good nor a bad answer."""

FAILED = 'outcome="error"'

ANSWERED = 'outcome=~"ok|miss"'
"""Operations that count for latency; a fast error says nothing about the time that an answer takes."""

Suffix = Literal["", "_bucket", "_count", "_sum"]


def of_target(name: str, *matchers: str) -> str:
    """Select a series of the chosen jobs and instances.

    >>> of_target("up")
    'up{job=~"$job", instance=~"$instance"}'
    """
    return f"{name}{{{', '.join((TARGET, *matchers))}}}"


OBSERVED = f"and on (job, instance) rate({of_target(LABEL_OVERFLOW.name)}[$__rate_interval])"
"""A condition that keeps only targets with Encore's metrics; this one exists from the start."""

FIRING = of_target("ALERTS", 'alertname=~"Encore.+"', 'alertstate="firing"')
PENDING = of_target("ALERTS", 'alertname=~"Encore.+"', 'alertstate="pending"')


def of(metric: Metric, *matchers: str, suffix: Suffix = "") -> str:
    """Select a metric of the chosen jobs, instances and, if it has that label, stores."""
    return of_target(metric.name + suffix, *([STORE] if "store" in metric.labels else []), *matchers)


def of_programs(name: str) -> str:
    """Select a series of the chosen programs with Encore; All would include any other job."""
    return f"{of_target(name)} {OBSERVED}"


def rate(metric: Metric, *matchers: str, by: str = "", suffix: Suffix = "") -> str:
    """Return the growth of the metric per second, grouped by the labels `by`."""
    return _sum(f"rate({of(metric, *matchers, suffix=suffix)}[$__rate_interval])", by)


def increase(metric: Metric, *matchers: str, by: str = "", suffix: Suffix = "") -> str:
    """Return the growth of the metric over the visible time range."""
    return _sum(f"increase({of(metric, *matchers, suffix=suffix)}[$__range])", by)


def operations(*matchers: str, by: str = "") -> str:
    """Return the operations per second."""
    return rate(OPERATION_DURATION, *matchers, by=by, suffix="_count")


def quantile(share: float, metric: Metric, *matchers: str, by: str = "") -> str:
    """Return a quantile; NaN, shown as a gap, without observations."""
    buckets = rate(metric, *matchers, by=f"le, {by}" if by else "le", suffix="_bucket")
    return f"histogram_quantile({share}, {buckets})"


def mean(metric: Metric, *matchers: str, by: str = "") -> str:
    """Return the mean of the observations; no value without observations."""
    total = rate(metric, *matchers, by=by, suffix="_sum")
    return ratio(total, rate(metric, *matchers, by=by, suffix="_count"))


def ratio(part: str, whole: str) -> str:
    """Return part / whole: 0 if the part is missing, no value if the whole is missing or 0."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def error_ratio(by: str = "", *matchers: str) -> str:
    """Return the share of failed operations among those not cancelled."""
    return ratio(operations(FAILED, *matchers, by=by), operations(COUNTED, *matchers, by=by))


def slow_ratio(by: str = "", *matchers: str) -> str:
    """Return the share of answers that took longer than the target."""
    fast = rate(OPERATION_DURATION, ANSWERED, 'le="$latency_target"', *matchers, by=by, suffix="_bucket")
    answered = operations(ANSWERED, *matchers, by=by)
    return f"1 - {fast} / ({answered} > 0)"


def with_label(expression: str, label: str, info: Metric) -> str:
    """Add a label of an info metric to an expression by store; where a store has two values, one of them."""
    instance = "job, instance, store"
    return f"{expression} * on ({instance}) group_left ({label}) topk by ({instance}) (1, {of(info)})"


def _sum(expression: str, by: str) -> str:
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"
