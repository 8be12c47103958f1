"""The dashboard of the objective: is it met, how fast is its budget spent, and which alerts say so."""

from __future__ import annotations

from dashboards.builder.activity import TO_STORE
from dashboards.builder.figures import BUDGET, budget_left, burn, figure, good, recorded
from dashboards.builder.model import ORANGE, RED, Board, Column, Panel, Query, Section
from dashboards.builder.promql import FIRING, PENDING
from dashboards.builder.recording import AVAILABILITY, LATENCY, PERIOD, WINDOWS, Sli
from encore_storage.slo import FASTEST_BURN

_WHOSE = ("job", "store", "window", "instance")
"""What alerts are told apart by; not all have all of them, so a legend joins those that there are."""


def _records(sli: Sli, window: str = PERIOD, by: str = "") -> tuple[str, str]:
    """What is bad and the whole, as they were recorded."""
    return recorded(sli.bad, window, by), recorded(sli.whole, window, by)


def _alert_states() -> str:
    """1 for an alert that is pending, 2 for one that is firing."""
    states = f"max by (alertname, {', '.join(_WHOSE)}) (2 * {FIRING} or {PENDING})"
    labels = ", ".join(f'"{label}"' for label in _WHOSE)
    return f'label_join({states}, "of", " ", {labels})'


def _burns(sli: Sli, answers: str, when_bad: str) -> Panel:
    return Panel(
        f"Burn rate, {sli.name}",
        answers,
        when_bad,
        "none",
        tuple(Query(burn(*_records(sli, f"rate{window}")), window) for window in WINDOWS),
        width=12,
        height=9,
        thresholds=((None, "transparent"), (1.0, ORANGE), (FASTEST_BURN, RED)),
    )


def _compliance(sli: Sli, title: str, answers: str, when_bad: str) -> Panel:
    return figure(title, answers, when_bad, "percentunit", Query(good(*_records(sli))), height=5, decimals=3)


def _left(sli: Sli) -> Panel:
    return figure(
        f"Budget left, {sli.name}",
        f"How much of what the objective allows in 30 days is still to be had, of {sli.name}?",
        "Below zero the objective is missed: no risky change until it has recovered.",
        "percentunit",
        Query(budget_left(*_records(sli))),
        height=5,
        thresholds=BUDGET,
        lowest=None,
    )


OBJECTIVE = Section(
    "Objective",
    (
        figure(
            "Objective",
            "Which share of the operations must succeed, and which share of the answers must be fast enough?",
            "It is set by `encore dashboards --objective`: too high and everything alerts, too low and nothing does.",
            "percentunit",
            Query("vector($objective)"),
            height=5,
        ),
        figure(
            "Latency target",
            "Within which time is an answer fast enough?",
            "It is set by `encore dashboards --latency-target`, and is an edge of the duration's buckets.",
            "s",
            Query("vector($latency_target)"),
            height=5,
        ),
        _compliance(
            AVAILABILITY,
            "Availability, 30 days",
            "Which share of the operations has succeeded? A miss is an answer; what was cancelled does not count.",
            "Below the objective: the table below says which store, its dashboard says why.",
        ),
        _left(AVAILABILITY),
        _compliance(
            LATENCY,
            "Fast enough, 30 days",
            "Which share of the answers has arrived within the latency target?",
            "Below the objective: the table below says which store; see the latency by operation on its dashboard.",
        ),
        _left(LATENCY),
    ),
)

BUDGETS = Section(
    "Budget and burn rate",
    (
        Panel(
            "Error budget left over time",
            "When was the budget of the last 30 days spent?",
            "A step down is an incident, a slope is a fault that stays; a rise is an old incident that leaves the 30 "
            "days.",
            "percentunit",
            (
                Query(budget_left(*_records(AVAILABILITY)), "availability"),
                Query(budget_left(*_records(LATENCY)), "latency"),
            ),
            width=24,
            lowest=None,
            thresholds=((None, RED), (0.0, "transparent")),
        ),
        _burns(
            AVAILABILITY,
            "How many times faster than allowed are operations failing, over each window? At 1 the budget lasts 30 "
            "days.",
            f"Short windows far above long ones: it has just begun. All above {FASTEST_BURN}: somebody is being "
            "called.",
        ),
        _burns(
            LATENCY,
            "How many times more answers than allowed are too slow, over each window? At 1 the budget lasts 30 days.",
            "Compare with the operations in a second: more load, or the same load and a slower store.",
        ),
    ),
)

ALERTS = Section(
    "Stores and alerts",
    (
        Panel(
            "Objective by store",
            "Which store misses the objective?",
            "Begin with the lowest budget; its name leads to its own dashboard.",
            "percentunit",
            (
                Query(good(*_records(AVAILABILITY, by="store"))),
                Query(budget_left(*_records(AVAILABILITY, by="store"))),
                Query(good(*_records(LATENCY, by="store"))),
                Query(budget_left(*_records(LATENCY, by="store"))),
            ),
            kind="table",
            width=12,
            height=9,
            columns={
                "store": Column("Store", link=TO_STORE),
                "A": Column("Available", "percentunit"),
                "B": Column("Budget left, availability", "percentunit"),
                "C": Column("Fast enough", "percentunit"),
                "D": Column("Budget left, latency", "percentunit"),
            },
            rising="Budget left, availability",
        ),
        Panel(
            "Alert states",
            "Which alerts were pending and firing, and when? Those about a job as a whole are shown where All "
            "instances are chosen.",
            "Each alert has its paragraph in the runbook: what it means, and what to do.",
            "short",
            (
                Query(
                    _alert_states(),
                    "{{alertname}} {{of}}",
                ),
            ),
            kind="state-timeline",
            width=12,
            height=9,
            states={"1": ("pending", ORANGE), "2": ("firing", RED)},
            empty="no alert is pending or firing",
        ),
    ),
)

SLO = Board(
    uid="encore-slo",
    title="Encore / SLO",
    description=(
        "Whether stores meet their objective over 30 days, how fast the error budget is spent, and which alerts say "
        "so. Its figures come from the recording rules."
    ),
    sections=(OBJECTIVE, BUDGETS, ALERTS),
    since="now-7d",
)
