"""Panels of a single number, and queries of the error budget."""

from __future__ import annotations

from dashboards.builder.model import BLUE, GREEN, ORANGE, RED, Panel, Query
from dashboards.builder.promql import ANSWERED, STORE, error_ratio, of_target, operations, quantile
from dashboards.builder.recording import PERIOD
from encore_storage.subscribers.catalogue import OPERATION_DURATION

NO_OPERATIONS = "no operations"

PLAIN = ((None, BLUE),)
BUDGET = ((None, RED), (0.0, ORANGE), (0.25, GREEN))


def figure(  # noqa: PLR0913 (a panel has its properties)
    title: str,
    answers: str,
    when_bad: str,
    unit: str,
    query: Query,
    *,
    width: int = 4,
    height: int = 4,
    thresholds: tuple[tuple[float | None, str], ...] = PLAIN,
    lowest: float | None = 0,
    empty: str = NO_OPERATIONS,
    decimals: int | None = None,
) -> Panel:
    """Return a panel of one or a few numbers, coloured by thresholds."""
    return Panel(
        title,
        answers,
        when_bad,
        unit,
        (query,),
        kind="stat",
        width=width,
        height=height,
        thresholds=thresholds,
        lowest=lowest,
        empty=empty,
        decimals=decimals,
    )


def recorded(name: str, window: str = PERIOD, by: str = "") -> str:
    """Return the sum of a recorded series over the selected jobs, instances and stores."""
    series = of_target(f"{name}:{window}", STORE)
    return f"sum by ({by}) ({series})" if by else f"sum({series})"


def good(bad: str, whole: str) -> str:
    """Return the share of the whole that is not bad."""
    return f"1 - {bad} / ({whole} > 0)"


def burn(bad: str, whole: str) -> str:
    """Return the burn rate: the bad share divided by the share that the objective allows."""
    return f"{bad} / ({whole} > 0) / (1 - $objective)"


def budget_left(bad: str, whole: str) -> str:
    """Return the share of the error budget that is left; negative if it is overspent."""
    return f"1 - {burn(bad, whole)}"


OPERATIONS_NOW = figure(
    "Operations",
    "How many operations end per second?",
    "A sudden fall to zero: the program has stopped calling, or operations hang. See In flight.",
    "ops",
    Query(operations()),
)

ERROR_RATIO_NOW = figure(
    "Error ratio",
    "What share of the operations fails now?",
    "See Errors by kind: not_found and invalid are usually caused by the caller, connection and timeout by the store.",
    "percentunit",
    Query(error_ratio()),
)

P99_NOW = figure(
    "p99 latency",
    "How long do 99 % of the answers take at most, to the last byte?",
    "See p99 by operation, and the heatmap of the overview for whether all answers are slow or only some.",
    "s",
    Query(f"{quantile(0.99, OPERATION_DURATION, ANSWERED)} >= 0"),
)
