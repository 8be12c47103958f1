"""The numbers at the top of the overview."""

from __future__ import annotations

from dataclasses import replace

from dashboards.builder.figures import (
    BUDGET,
    ERROR_RATIO_NOW,
    OPERATIONS_NOW,
    P99_NOW,
    budget_left,
    figure,
    recorded,
)
from dashboards.builder.model import GREEN, RED, Query, Section
from dashboards.builder.promql import COUNTED, FAILED, FIRING, increase, of, rate, ratio
from dashboards.builder.recording import ERRORS, OPERATIONS
from encore_storage.subscribers.catalogue import OPERATION_DURATION, OPERATIONS_IN_PROGRESS, TRANSFERRED_BYTES

_FAILED = increase(OPERATION_DURATION, FAILED, suffix="_count")
_COUNTED = increase(OPERATION_DURATION, COUNTED, suffix="_count")

HEADER = Section(
    "Now",
    (
        figure(
            "Availability",
            "What share of the operations in the time range did not fail?",
            "Below the objective: see the section Errors.",
            "percentunit",
            Query(f"1 - {ratio(_FAILED, _COUNTED)}"),
            width=5,
            decimals=3,
        ),
        figure(
            "Error budget left",
            "What share of the failures that the objective allows in 30 days is left? Slow answers have their own "
            "budget on the SLO dashboard.",
            "At zero the objective is missed: stop risky changes, and see the SLO dashboard for when it was spent.",
            "percentunit",
            Query(budget_left(recorded(ERRORS), recorded(OPERATIONS))),
            width=5,
            thresholds=BUDGET,
            lowest=None,
        ),
        replace(OPERATIONS_NOW, width=5),
        replace(ERROR_RATIO_NOW, width=5),
        P99_NOW,
        figure(
            "In flight",
            "How many operations are in progress?",
            "Steady growth is a leak of streams, or a store that hangs: see Oldest in flight.",
            "short",
            Query(f"sum({of(OPERATIONS_IN_PROGRESS)})"),
            width=6,
        ),
        figure(
            "Read",
            "How many bytes are read from the stores per second?",
            "Unexpectedly zero: see Operations by store and Errors.",
            "Bps",
            Query(rate(TRANSFERRED_BYTES, 'direction="read"')),
            width=6,
        ),
        figure(
            "Written",
            "How many bytes are written to the stores per second?",
            "Unexpectedly zero: see Time since the last success.",
            "Bps",
            Query(rate(TRANSFERRED_BYTES, 'direction="write"')),
            width=6,
        ),
        figure(
            "Firing alerts",
            "How many of Encore's alerts are firing? Alerts about a whole job need All instances selected.",
            "See the SLO dashboard for which they are, and the runbook for what to do.",
            "short",
            Query(f"count({FIRING}) or vector(0)"),
            width=6,
            thresholds=((None, GREEN), (1.0, RED)),
        ),
    ),
)
