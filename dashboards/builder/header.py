"""The figures at the top of the overview: nine numbers that say whether to read on."""

from __future__ import annotations

from dashboards.builder.model import BLUE, GREEN, ORANGE, RED, Panel, Query, Section
from dashboards.builder.promql import (
    COUNTED,
    FIRING,
    STORE,
    error_ratio,
    increase,
    of,
    of_target,
    operations,
    quantile,
    rate,
    ratio,
)
from dashboards.builder.recording import ERRORS, OPERATIONS, PERIOD
from encore_storage.subscribers.catalogue import OPERATION_DURATION, OPERATIONS_IN_PROGRESS, TRANSFERRED_BYTES

NO_OPERATIONS = "no operations"
BUDGET = ((None, RED), (0.0, ORANGE), (0.25, GREEN))
RATIO = ((None, GREEN), (0.001, ORANGE), (0.01, RED))
PLAIN = ((None, BLUE),)

_FAILED = increase(OPERATION_DURATION, 'outcome="error"', suffix="_count")
_COUNTED = increase(OPERATION_DURATION, COUNTED, suffix="_count")


def budget_left(bad: str, whole: str) -> str:
    """How much of the error budget is left, below zero where it is overspent; of recorded counts."""
    return f"1 - ({bad}) / ({whole} > 0) / (1 - $objective)"


def recorded(name: str, window: str = PERIOD) -> str:
    """The sum over what was recorded under `name` for the chosen jobs, instances and stores."""
    return f"sum({of_target(f'{name}:{window}', STORE)})"


HEADER = Section(
    "Now",
    (
        Panel(
            "Availability",
            "Which share of the operations in the time range did not fail?",
            "Below the objective: see Errors, by operation and by kind.",
            "percentunit",
            (Query(f"1 - {ratio(_FAILED, _COUNTED)}"),),
            kind="stat",
            width=5,
            height=4,
            thresholds=PLAIN,
            decimals=3,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "Error budget left",
            "How much of the failures that the objective allows in 30 days are still to be had?",
            "At zero the objective is missed: stop what is risky, and see the SLO dashboard for when it was spent.",
            "percentunit",
            (Query(budget_left(recorded(ERRORS), recorded(OPERATIONS))),),
            kind="stat",
            width=5,
            height=4,
            thresholds=BUDGET,
            lowest=None,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "Operations",
            "How many operations end in a second?",
            "A sudden fall to zero means that the program has stopped asking, or that operations hang: see In flight.",
            "ops",
            (Query(operations()),),
            kind="stat",
            width=5,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Error ratio",
            "Which share of the operations fails right now?",
            "See Errors by kind: not_found and invalid are mostly the caller's, connection and timeout the store's.",
            "percentunit",
            (Query(error_ratio()),),
            kind="stat",
            width=5,
            height=4,
            thresholds=RATIO,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "p99 latency",
            "Within which time do 99 of 100 answers arrive, to the last byte?",
            "See p99 by operation for which one it is, and the heatmap for whether it is all of them or a few.",
            "s",
            (Query(quantile(0.99, OPERATION_DURATION, 'outcome=~"ok|miss"')),),
            kind="stat",
            width=4,
            height=4,
            thresholds=PLAIN,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "In flight",
            "How many operations have started and not ended?",
            "A number that only grows is a leak of streams or a store that hangs: see Oldest in flight.",
            "short",
            (Query(f"sum({of(OPERATIONS_IN_PROGRESS)})"),),
            kind="stat",
            width=6,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Read",
            "How many bytes are read from the stores in a second?",
            "Nothing, where there should be something: see Operations by store and Errors.",
            "Bps",
            (Query(rate(TRANSFERRED_BYTES, 'direction="read"')),),
            kind="stat",
            width=6,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Written",
            "How many bytes are written to the stores in a second?",
            "Nothing, where there should be something: see Time since the last success.",
            "Bps",
            (Query(rate(TRANSFERRED_BYTES, 'direction="write"')),),
            kind="stat",
            width=6,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Firing alerts",
            "How many of Encore's alerts are firing? One about a job as a whole has the instance `all`, and so counts "
            "where All instances are chosen.",
            "Open the SLO dashboard for which they are; each has its paragraph in the runbook.",
            "short",
            (Query(f"count({FIRING}) or vector(0)"),),
            kind="stat",
            width=6,
            height=4,
            thresholds=((None, GREEN), (1.0, RED)),
        ),
    ),
)
