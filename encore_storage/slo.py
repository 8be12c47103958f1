"""The service level objective of alerts and dashboards."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from encore_events.errors import EncoreError
from encore_storage.subscribers.catalogue import SECONDS

FASTEST_BURN = 14.4
"""The burn rate of the fastest alert: 2 % of a 30-day budget in an hour (Site Reliability Workbook, chapter 5)."""

LOWEST_OBJECTIVE = 100 * (1 - 1 / FASTEST_BURN)
"""The objective, in percent, below which even an error ratio of 1 does not reach `FASTEST_BURN`."""


class SloError(EncoreError, ValueError):
    """An invalid objective."""


class ObjectiveError(SloError):
    """An objective with which an alert could never fire, or never end."""

    def __init__(self, objective: float) -> None:
        super().__init__(
            f"cannot alert on an objective of {objective:g} %: give a percentage, such as 99.9, above "
            f"{LOWEST_OBJECTIVE:.2f} (or the fastest alert could never fire) and below 100 (or there is no budget)"
        )
        self.objective = objective


class LatencyTargetError(SloError):
    """A latency target that is not a bucket bound of the histogram."""

    def __init__(self, latency_target: float) -> None:
        bounds = ", ".join(f"{bound:g}" for bound in SECONDS)
        super().__init__(
            f"cannot measure a latency target of {latency_target:g} s: give a bucket bound of the histogram, {bounds}"
        )
        self.latency_target = latency_target


@dataclass(frozen=True)
class Slo:
    """The share of operations that must succeed, and of answers that must be fast enough.

    An answer is an operation that ended with ok or miss.

    >>> Slo(99.5, 1).objective_ratio, Slo(99.5, 1).latency_edge
    ('0.995', '1.0')

    Attributes:
        objective: percentage for both shares; the rest to 100 is the error budget.
        latency_target: seconds within which an answer is fast enough; a bucket bound of the duration histogram.

    Raises:
        ObjectiveError: the objective is out of range (a ValueError).
        LatencyTargetError: the latency target is not a bucket bound (a ValueError).
    """

    objective: float = 99.9
    latency_target: float = 0.5

    def __post_init__(self) -> None:
        if not LOWEST_OBJECTIVE < self.objective < 100:  # noqa: PLR2004 (per cent)
            raise ObjectiveError(self.objective)
        if self.latency_target not in SECONDS:
            raise LatencyTargetError(self.latency_target)

    @property
    def objective_ratio(self) -> str:
        """The objective between 0 and 1, as written in queries."""
        return f"{Decimal(str(self.objective)) / 100:f}"

    @property
    def latency_edge(self) -> str:
        """The latency target as a value of the label `le`."""
        return str(float(self.latency_target))
