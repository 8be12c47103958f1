"""Recording rules: counts of operations, failures and slow answers over all windows of the alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboards.builder.promql import ANSWERED, COUNTED, FAILED
from encore_storage.slo import Slo
from encore_storage.subscribers.catalogue import OPERATION_DURATION

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Windows of the burn rates."""

PERIOD = "increase30d"
"""Suffix of the counts over the period of the objective, 30 days."""

OPERATIONS = "job_instance_store:encore_storage_operations"
ERRORS = "job_instance_store:encore_storage_operation_errors"
ANSWERS = "job_instance_store:encore_storage_answers"
SLOW = "job_instance_store:encore_storage_slow_answers"

_SHORT = ("5m", "30m", "1h")

_SLOW_GROUP = {"interval": "1m"}
"""Long windows are evaluated less often: they cost more and change less."""

_SECONDS = {"5m": 300, "3d": 3 * 86_400}


@dataclass(frozen=True)
class Sli:
    """A service level indicator: the bad share of a whole.

    Attributes:
        name: of the indicator.
        bad: recorded series of what violates the objective.
        whole: recorded series of all that the objective covers.
    """

    name: str
    bad: str
    whole: str

    def ratio(self, window: str) -> str:
        """Return the name of the recorded bad share in the window, for each job and store."""
        return f"{self.bad.replace('job_instance_store', 'job_store')}:ratio_rate{window}"


AVAILABILITY = Sli("availability", ERRORS, OPERATIONS)
LATENCY = Sli("latency", SLOW, ANSWERS)


def recording_rules(slo: Slo) -> dict[str, Any]:
    """Return the groups of recording rules."""
    groups = [_rates(window, slo) for window in WINDOWS]
    month = {"name": "encore-slo-30d", **_SLOW_GROUP, "rules": [_period(name) for name in _SERIES]}
    return {"groups": [*groups, month]}


def _rates(window: str, slo: Slo) -> dict[str, Any]:
    """Return the rules of one window: rates for each instance, and ratios."""
    count = f"{OPERATION_DURATION.name}_count"
    whole, answers = _rate(count, COUNTED, window), _rate(count, ANSWERED, window)
    failed = _rate(count, FAILED, window)
    fast = _rate(f"{OPERATION_DURATION.name}_bucket", f'{ANSWERED}, le="{slo.latency_edge}"', window)
    rules = [
        _rule(f"{OPERATIONS}:rate{window}", whole),
        _rule(f"{ERRORS}:rate{window}", f"{failed}\nor\n0 * {whole}"),
        _rule(f"{ANSWERS}:rate{window}", answers),
        _rule(f"{SLOW}:rate{window}", f"{answers}\n-\n{fast}"),
        *(_rule(sli.ratio(window), _ratio(sli, window)) for sli in (AVAILABILITY, LATENCY)),
    ]
    options = {} if window in _SHORT else _SLOW_GROUP
    return {"name": f"encore-slo-{window}", **options, "rules": rules}


def _rate(series: str, matchers: str, window: str) -> str:
    return f"sum by (job, instance, store) (rate({series}{{{matchers}}}[{window}]))"


def _ratio(sli: Sli, window: str) -> str:
    """Return the ratio over all instances of a job; no value if the store is idle."""
    bad, whole = (f"sum by (job, store) ({name}:rate{window})" for name in (sli.bad, sli.whole))
    return f"{bad}\n/\n({whole} > 0)"


_SERIES = (OPERATIONS, ERRORS, ANSWERS, SLOW)


def _period(name: str) -> dict[str, str]:
    """Return the rule of the count over 30 days, or over 3 days until the first 5-minute step is recorded."""
    steps = f"sum_over_time({name}:rate5m[30d:5m]) * {_SECONDS['5m']}"
    return _rule(f"{name}:{PERIOD}", f"{steps}\nor\n{name}:rate3d * {_SECONDS['3d']}")


def _rule(name: str, expr: str) -> dict[str, str]:
    return {"record": name, "expr": expr}
