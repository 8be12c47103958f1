"""Single figures: the numbers at the top of a dashboard, and how much is left of an error budget."""

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
    """A panel that is one number, or a few, in a colour that says whether it is good."""
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
    """The sum over what was recorded under `name` for the chosen jobs, instances and stores."""
    series = of_target(f"{name}:{window}", STORE)
    return f"sum by ({by}) ({series})" if by else f"sum({series})"


def good(bad: str, whole: str) -> str:
    """How much of the whole is not bad."""
    return f"1 - {bad} / ({whole} > 0)"


def burn(bad: str, whole: str) -> str:
    """How many times more is bad than the objective allows."""
    return f"{bad} / ({whole} > 0) / (1 - $objective)"


def budget_left(bad: str, whole: str) -> str:
    """How much of the error budget is left, below zero where it is overspent."""
    return f"1 - {burn(bad, whole)}"


OPERATIONS_NOW = figure(
    "Operations",
    "How many operations end in a second?",
    "A sudden fall to zero means that the program has stopped asking, or that operations hang: see In flight.",
    "ops",
    Query(operations()),
)

ERROR_RATIO_NOW = figure(
    "Error ratio",
    "Which share of the operations fails right now?",
    "See Errors by kind: not_found and invalid are mostly the caller's, connection and timeout the store's.",
    "percentunit",
    Query(error_ratio()),
)

P99_NOW = figure(
    "p99 latency",
    "Within which time do 99 of 100 answers arrive, to the last byte?",
    "See the latency by operation for which one it is, and the heatmap of the overview for whether it is all or a few.",
    "s",
    Query(f"{quantile(0.99, OPERATION_DURATION, ANSWERED)} >= 0"),
)
