"""Recording rules: how many operations there were, failed and were slow, over every window that an alert looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboards.builder.promql import ANSWERED, COUNTED, FAILED
from encore_storage.slo import Slo
from encore_storage.subscribers.catalogue import OPERATION_DURATION

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""The windows of the burn rates."""

PERIOD = "increase30d"
"""What a count over the whole period of the objective, 30 days, is called."""

OPERATIONS = "job_instance_store:encore_storage_operations"
ERRORS = "job_instance_store:encore_storage_operation_errors"
ANSWERS = "job_instance_store:encore_storage_answers"
SLOW = "job_instance_store:encore_storage_slow_answers"

_QUICK = ("5m", "30m", "1h")

SELDOM = {"interval": "1m"}
"""How often long windows are looked at: they cost more, and change less."""

_SECONDS = {"5m": 300, "3d": 3 * 86_400}


@dataclass(frozen=True)
class Sli:
    """A service level indicator: how much of the whole is bad, and what the records of it are called.

    Attributes:
        name: what it is about.
        bad: the record of what counts against the objective.
        whole: the record of what the objective is about.
    """

    name: str
    bad: str
    whole: str

    def ratio(self, window: str) -> str:
        """The record of how much of the whole is bad in the window, for each job and store."""
        return f"{self.bad.replace('job_instance_store', 'job_store')}:ratio_rate{window}"


AVAILABILITY = Sli("availability", ERRORS, OPERATIONS)
LATENCY = Sli("latency", SLOW, ANSWERS)


def recording_rules(slo: Slo) -> dict[str, Any]:
    """The groups of recording rules, as Prometheus reads them."""
    groups = [_rates(window, slo) for window in WINDOWS]
    month = {"name": "encore-slo-30d", **SELDOM, "rules": [_period(name) for name in _RECORDS]}
    return {"groups": [*groups, month]}


def _rates(window: str, slo: Slo) -> dict[str, Any]:
    """What happens in a second, over the window: for each instance, which dashboards choose by, and the ratios."""
    count = f"{OPERATION_DURATION.name}_count"
    whole, answers = _rate(count, COUNTED, window), _rate(count, ANSWERED, window)
    failed = _rate(count, FAILED, window)
    fast = _rate(f"{OPERATION_DURATION.name}_bucket", f'{ANSWERED}, le="{slo.latency_edge}"', window)
    rules = [
        _record(f"{OPERATIONS}:rate{window}", whole),
        _record(f"{ERRORS}:rate{window}", f"{failed}\nor\n0 * {whole}"),
        _record(f"{ANSWERS}:rate{window}", answers),
        _record(f"{SLOW}:rate{window}", f"{answers}\n-\n{fast}"),
        *(_record(sli.ratio(window), _ratio(sli, window)) for sli in (AVAILABILITY, LATENCY)),
    ]
    seldom = {} if window in _QUICK else SELDOM
    return {"name": f"encore-slo-{window}", **seldom, "rules": rules}


def _rate(series: str, matchers: str, window: str) -> str:
    return f"sum by (job, instance, store) (rate({series}{{{matchers}}}[{window}]))"


def _ratio(sli: Sli, window: str) -> str:
    """Of all instances of a job together; nothing where the store is idle."""
    bad, whole = (f"sum by (job, store) ({name}:rate{window})" for name in (sli.bad, sli.whole))
    return f"{bad}\n/\n({whole} > 0)"


_RECORDS = (OPERATIONS, ERRORS, ANSWERS, SLOW)


def _period(name: str) -> dict[str, str]:
    """The count over 30 days from what was recorded each 5 minutes; until there is such a moment, over 3 days."""
    steps = f"sum_over_time({name}:rate5m[30d:5m]) * {_SECONDS['5m']}"
    return _record(f"{name}:{PERIOD}", f"{steps}\nor\n{name}:rate3d * {_SECONDS['3d']}")


def _record(name: str, expr: str) -> dict[str, str]:
    return {"record": name, "expr": expr}
