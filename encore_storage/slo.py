"""The service level objective that alerts and dashboards hold stores to."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from encore_events.errors import EncoreError
from encore_storage.subscribers.catalogue import SECONDS

FASTEST_BURN = 14.4
"""The burn rate of the quickest alert: 2 % of the budget of 30 days in an hour (Site Reliability Workbook, ch. 5)."""

LOWEST_OBJECTIVE = 100 * (1 - 1 / FASTEST_BURN)
"""Per cent below which no error ratio, be it 1, reaches `FASTEST_BURN` times the error budget."""


class SloError(EncoreError, ValueError):
    """Nothing can be held to such an objective."""


class ObjectiveError(SloError):
    """With such an objective, an alert could never fire, or never end."""

    def __init__(self, objective: float) -> None:
        """Say which `objective` it was, in per cent, and which there can be."""
        super().__init__(
            f"an objective of {objective:g} % can't be alerted on: give per cent, as in 99.9, more than "
            f"{LOWEST_OBJECTIVE:.2f} (or the fastest alert could never fire) and less than 100 (or there is no budget)"
        )
        self.objective = objective


class LatencyTargetError(SloError):
    """No histogram can tell how many operations were faster than that."""

    def __init__(self, latency_target: float) -> None:
        """Say which `latency_target` it was, in seconds, and which there can be."""
        edges = ", ".join(f"{edge:g}" for edge in SECONDS)
        super().__init__(
            f"a latency target of {latency_target:g} s is no edge of the duration's buckets: give one of {edges}"
        )
        self.latency_target = latency_target


@dataclass(frozen=True)
class Slo:
    """So many of all operations succeed, and as many of the answers arrive in time.

    >>> Slo(99.5, 1).objective_ratio, Slo(99.5, 1).latency_edge
    ('0.995', '1.0')

    Attributes:
        objective: per cent of operations; what is missing from 100 is the error budget.
        latency_target: seconds within which an answer is fast enough, an edge of the duration's buckets.

    Raises:
        ObjectiveError: the objective is out of range (a ValueError).
        LatencyTargetError: the latency target is no edge (a ValueError).
    """

    objective: float = 99.9
    latency_target: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what can't be alerted on or measured."""
        if not LOWEST_OBJECTIVE < self.objective < 100:  # noqa: PLR2004 (per cent)
            raise ObjectiveError(self.objective)
        if self.latency_target not in SECONDS:
            raise LatencyTargetError(self.latency_target)

    @property
    def objective_ratio(self) -> str:
        """The objective between 0 and 1, as it stands in a query."""
        return f"{Decimal(str(self.objective)) / 100:f}"

    @property
    def latency_edge(self) -> str:
        """The latency target as the label `le` has it."""
        return str(float(self.latency_target))
