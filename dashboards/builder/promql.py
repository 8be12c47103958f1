"""Queries, written once: what every panel asks is put together from these, over the metrics of the catalogue."""

from __future__ import annotations

from typing import Literal

from encore_storage.subscribers.catalogue import LABEL_OVERFLOW, OPERATION_DURATION, Metric

TARGET = 'job=~"$job", instance=~"$instance"'
"""What every selector says: whose metrics."""

STORE = 'store=~"$store"'

COUNTED = 'outcome!="cancelled"'
"""Operations that an objective is about: whoever cancels one has had no answer, so neither a good nor a bad one."""

FAILED = 'outcome="error"'

ANSWERED = 'outcome=~"ok|miss"'
"""Operations whose latency is one: an error may be quick, and says nothing of how long an answer takes."""

Suffix = Literal["", "_bucket", "_count", "_sum"]


def of_target(name: str, *matchers: str) -> str:
    """The series `name` of the chosen jobs and instances.

    >>> of_target("up")
    'up{job=~"$job", instance=~"$instance"}'
    """
    return f"{name}{{{', '.join((TARGET, *matchers))}}}"


OBSERVED = f"and on (job, instance) rate({of_target(LABEL_OVERFLOW.name)}[$__rate_interval])"
"""That a target has Encore's metrics: this one it has from the start, whatever its value."""

FIRING = of_target("ALERTS", 'alertname=~"Encore.+"', 'alertstate="firing"')
PENDING = of_target("ALERTS", 'alertname=~"Encore.+"', 'alertstate="pending"')


def of(metric: Metric, *matchers: str, suffix: Suffix = "") -> str:
    """The series of the metric of the chosen jobs, instances and, where it has such a label, stores."""
    return of_target(metric.name + suffix, *([STORE] if "store" in metric.labels else []), *matchers)


def of_programs(name: str) -> str:
    """The series `name` of those chosen targets that are programs with Encore, since All means any job there is."""
    return f"{of_target(name)} {OBSERVED}"


def rate(metric: Metric, *matchers: str, by: str = "", suffix: Suffix = "") -> str:
    """How much the metric grows in a second, for each value of the labels `by`."""
    return _sum(f"rate({of(metric, *matchers, suffix=suffix)}[$__rate_interval])", by)


def increase(metric: Metric, *matchers: str, by: str = "", suffix: Suffix = "") -> str:
    """How much the metric has grown over the time range that is shown."""
    return _sum(f"increase({of(metric, *matchers, suffix=suffix)}[$__range])", by)


def operations(*matchers: str, by: str = "") -> str:
    """Operations in a second."""
    return rate(OPERATION_DURATION, *matchers, by=by, suffix="_count")


def quantile(share: float, metric: Metric, *matchers: str, by: str = "") -> str:
    """What `share` of the observations stay below; NaN, which is a gap, where there are none."""
    buckets = rate(metric, *matchers, by=f"le, {by}" if by else "le", suffix="_bucket")
    return f"histogram_quantile({share}, {buckets})"


def mean(metric: Metric, *matchers: str, by: str = "") -> str:
    """The mean of the observations; nothing where there are none."""
    total = rate(metric, *matchers, by=by, suffix="_sum")
    return ratio(total, rate(metric, *matchers, by=by, suffix="_count"))


def ratio(part: str, whole: str) -> str:
    """How much of the whole the part is: 0 where there is no such part, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def error_ratio(by: str = "", *matchers: str) -> str:
    """How much of the operations that were not cancelled have failed."""
    return ratio(operations(FAILED, *matchers, by=by), operations(COUNTED, *matchers, by=by))


def slow_ratio(by: str = "", *matchers: str) -> str:
    """How much of the operations that were answered took longer than the target."""
    fast = rate(OPERATION_DURATION, ANSWERED, 'le="$latency_target"', *matchers, by=by, suffix="_bucket")
    answered = operations(ANSWERED, *matchers, by=by)
    return f"1 - {fast} / ({answered} > 0)"


def _sum(expression: str, by: str) -> str:
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"
