"""The SLO dashboard."""

from __future__ import annotations

from dashboards.builder.activity import TO_STORE
from dashboards.builder.figures import BUDGET, budget_left, burn, figure, good, recorded
from dashboards.builder.model import ORANGE, RED, Board, Column, Panel, Query, Section
from dashboards.builder.promql import FIRING, PENDING
from dashboards.builder.recording import AVAILABILITY, LATENCY, PERIOD, WINDOWS, Sli
from encore_storage.slo import FASTEST_BURN

_ALERT_LABELS = ("job", "store", "window", "instance")
"""Labels that distinguish alerts; a legend joins those that are present."""


def _records(sli: Sli, window: str = PERIOD, by: str = "") -> tuple[str, str]:
    """Return queries of the recorded bad and whole."""
    return recorded(sli.bad, window, by), recorded(sli.whole, window, by)


def _alert_states() -> str:
    """Return a query that is 1 for a pending alert and 2 for a firing one."""
    states = f"max by (alertname, {', '.join(_ALERT_LABELS)}) (2 * {FIRING} or {PENDING})"
    labels = ", ".join(f'"{label}"' for label in _ALERT_LABELS)
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
        f"What share of the {sli.name} budget of 30 days is left?",
        "Below zero the objective is missed: make no risky changes until it has recovered.",
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
            "What share of the operations must succeed, and of the answers must be fast enough?",
            "Set it with `encore dashboards --objective`: too high, and everything alerts; too low, and nothing does.",
            "percentunit",
            Query("vector($objective)"),
            height=5,
        ),
        figure(
            "Latency target",
            "How long may an answer take?",
            "Set it with `encore dashboards --latency-target`; it must be a bucket bound of the duration histogram.",
            "s",
            Query("vector($latency_target)"),
            height=5,
        ),
        _compliance(
            AVAILABILITY,
            "Availability, 30 days",
            "What share of the operations succeeded? A miss counts as success, a cancelled operation does not count.",
            "Below the objective: the table below shows which store, and its dashboard shows why.",
        ),
        _left(AVAILABILITY),
        _compliance(
            LATENCY,
            "Fast enough, 30 days",
            "What share of the answers took at most the latency target?",
            "Below the objective: the table below shows which store; see the latencies on its dashboard.",
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
            "A step down is an incident, a slope a lasting fault; a rise is an old incident that leaves the 30 days.",
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
            "How many times as fast as allowed do operations fail in each window? At 1, the budget lasts 30 days.",
            f"Short windows far above long ones: it has just begun. All above {FASTEST_BURN}: a critical alert fires.",
        ),
        _burns(
            LATENCY,
            "How many times as many answers as allowed are too slow in each window? At 1, the budget lasts 30 days.",
            "Compare with the operations per second: more load, or a slower store under the same load.",
        ),
    ),
)

ALERTS = Section(
    "Stores and alerts",
    (
        Panel(
            "Objective by store",
            "Which store misses the objective?",
            "Start with the lowest budget; click the store to open its dashboard.",
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
            "Which alerts were pending or firing, and when? Alerts about a whole job are shown only if All instances "
            "are selected.",
            "The runbook explains each alert, and what to do.",
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
        "The objective over 30 days: whether stores meet it, how fast they spend their error budget, and which alerts "
        "fire. The figures come from the recording rules."
    ),
    sections=(OBJECTIVE, BUDGETS, ALERTS),
    since="now-7d",
)
