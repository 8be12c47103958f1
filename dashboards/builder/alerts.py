"""The alerts: when somebody should look, what it means, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dashboards.builder.recording import AVAILABILITY, LATENCY, Sli
from encore_storage.slo import FASTEST_BURN, Slo
from encore_storage.subscribers.catalogue import (
    DROPPED,
    LABEL_OVERFLOW,
    LAST_SUCCESS,
    LISTENER_ERRORS,
    OPERATION_OLDEST,
    TRANSACTIONS,
)

Severity = Literal["critical", "warning", "info"]

OF_THE_JOB: Mapping[str, str] = {"instance": "all"}
"""What an alert about all instances of a job together says, so that whoever chooses by instance finds it."""


@dataclass(frozen=True)
class Alert:
    """One alert rule, and its paragraph in the runbook.

    Attributes:
        name: what it is called; several rules may share it, with other labels.
        expr: when it is pending.
        holds: for how long it must hold before it fires, as in '5m'.
        severity: critical wakes somebody, warning is for the day, info is for who looks.
        summary: one line, with {{ $labels.store }} for what it is about.
        description: one or two more, with the figures.
        when: what makes it fire, in words.
        means: what has happened.
        do: what to do about it.
        labels: what it says beside its severity.
    """

    name: str
    expr: str
    holds: str
    severity: Severity
    summary: str
    description: str
    when: str
    means: str
    do: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Burn:
    """How fast an error budget may be spent: in both windows at once, or nobody is told.

    Attributes:
        short: the window that ends the alert soon after the trouble.
        long: the window that keeps a short trouble from starting it.
        factor: how many times faster than allowed.
        holds: for how long.
        severity: how urgent it is.
        spent: what that is of the budget, in words.
    """

    short: str
    long: str
    factor: float
    holds: str
    severity: Severity
    spent: str


@dataclass(frozen=True)
class Happening:
    """What goes wrong, as sentences need it.

    Attributes:
        of_the_store: what a store does, as in 'fails too often'.
        in_the_past: what has happened, as in 'operations failed'.
        in_general: what happens, as in 'operations fail'.
    """

    of_the_store: str
    in_the_past: str
    in_general: str


# Google's SRE Workbook, chapter 5, "Alerting on SLOs", with a budget of 30 days.
BURNS = (
    Burn("5m", "1h", FASTEST_BURN, "2m", "critical", "2 % of the budget of 30 days in an hour"),
    Burn("30m", "6h", 6, "15m", "critical", "5 % of the budget of 30 days in 6 hours"),
    Burn("2h", "1d", 3, "1h", "warning", "10 % of the budget of 30 days in a day"),
    Burn("6h", "3d", 1, "3h", "warning", "10 % of the budget of 30 days in 3 days"),
)


def alerts(slo: Slo) -> tuple[Alert, ...]:
    """All alerts, the objective's first."""
    return (*_availability(slo), *_latency(slo), *_TRANSACTIONS, *_STORES, *_OBSERVER)


def _burning(sli: Sli, slo: Slo, name: str, happens: Happening, *, means: str, do: str) -> Iterator[Alert]:
    """An alert for each pair of windows in which the budget of the indicator can be spent too fast."""
    for burn in BURNS:
        threshold = f"> {burn.factor:g} * (1 - {slo.objective_ratio})"
        yield Alert(
            name,
            f"{sli.ratio(burn.short)} {threshold}\nand\n{sli.ratio(burn.long)} {threshold}",
            burn.holds,
            burn.severity,
            f"Store {{{{ $labels.store }}}} of {{{{ $labels.job }}}} {happens.of_the_store} for its objective",
            f"{{{{ $value | humanizePercentage }}}} of its {happens.in_the_past} in the last {burn.short}, "
            f"and too many in the last {burn.long}, too: at this rate, {burn.spent}.",
            f"{happens.in_general} {_often(burn)}",
            means,
            do,
            {**OF_THE_JOB, "window": f"{burn.short}/{burn.long}"},
        )


def _often(burn: Burn) -> str:
    times = f"{burn.factor:g} times as" if burn.factor > 1 else "more"
    than = "as" if burn.factor > 1 else "than"
    return f"{times} often {than} the objective allows, over {burn.long} and over {burn.short}"


def _availability(slo: Slo) -> Iterator[Alert]:
    return _burning(
        AVAILABILITY,
        slo,
        "EncoreErrorBudgetBurn",
        Happening("fails too often", "operations failed", "operations fail"),
        means="Operations fail so often that the objective will be missed, if it goes on. The label `window` says how "
        "fast: `5m/1h` is an outage, `6h/3d` a fault that has been there for days.",
        do="Open the dashboard of the store: the rows say which operation fails, Errors by kind with what. "
        "`connection` and `timeout` are the store's or the network's, `quota_exceeded` and `read_only` need room "
        "or rights, `invalid` and `not_found` are the caller's. The log line `store.operation.ended` has the "
        "exception.",
    )


def _latency(slo: Slo) -> Iterator[Alert]:
    return _burning(
        LATENCY,
        slo,
        "EncoreLatencyBudgetBurn",
        Happening("answers too slowly", "answers took longer than the latency target", "answers are too slow"),
        means="Answers take longer than the latency target so often that the objective will be missed, if it goes on. "
        "An answer is an operation that found or did what it should, or that told that the key is missing; it ends "
        "with the last byte.",
        do="Open the dashboard of the store: is it one operation, and are the values larger than usual? A reader that "
        "takes its time counts, too, since the stream ends when it is read to the end or closed. If all stores are "
        "slow, look at the CPU of the process.",
    )


def _counted(selector: str, by: str) -> str:
    """A counter has grown, or is there for the first time: one that starts at 1 never grows to it."""
    grown = f"sum by ({by}) (increase({selector}[10m])) > 0"
    new = f"(sum by ({by}) ({selector}) unless sum by ({by}) ({selector} offset 10m)) > 0"
    return f"{grown}\nor\n{new}"


_ROLLED_BACK = f'{TRANSACTIONS.name}{{outcome="rolled_back"}}'
_UNSAFE = f'{TRANSACTIONS.name}{{outcome=~"commit_failed|rollback_failed"}}'

_TRANSACTIONS = (
    Alert(
        "EncoreRollbackRatioHigh",
        f"sum by (job, store) (rate({_ROLLED_BACK}[15m]))\n/\nsum by (job, store) "
        f"(rate({TRANSACTIONS.name}[15m]))\n> 0.1\n"
        f"and\nsum by (job, store) (increase({_ROLLED_BACK}[15m])) >= 3",
        "10m",
        "warning",
        "Store {{ $labels.store }} of {{ $labels.job }} rolls back {{ $value | humanizePercentage }} of its "
        "transactions",
        "More than 10 % of the transactions, and at least 3, were rolled back in the last 15 minutes.",
        "more than 10 % of a store's transactions are rolled back over 15 minutes, and at least 3",
        "Work is done and thrown away: the block of a transaction raises.",
        "The log line `store.transaction.rolled_back` has the error of each, and how many operations it took along. If "
        "it is always the same step that fails, check it before the first write; if it is now and then, make the "
        "transactions smaller.",
        OF_THE_JOB,
    ),
    Alert(
        "EncoreCommitFailed",
        _counted(_UNSAFE, "job, instance, store, outcome"),
        "0m",
        "critical",
        "Store {{ $labels.store }} of {{ $labels.instance }} could not end a transaction: {{ $labels.outcome }}",
        "Transactions that ended with {{ $labels.outcome }} in the last 10 minutes: about {{ $value | humanize }}.",
        "a transaction ends with commit_failed or rollback_failed",
        "`commit_failed`: the block went well, and the store could not keep what it wrote; it was rolled back. "
        "`rollback_failed`: neither worked, so what the store holds is not known.",
        "The log lines `store.transaction.commit_failed` and `.rollback_failed` have the error: most often a full "
        "disk, a lost connection or a database that somebody else has locked. After a `rollback_failed` check the data "
        "of that transaction, whose notes are in the line, before anything else writes there. After a pause in "
        "scraping, or when Prometheus is new, failures from before are told as if they had just happened.",
    ),
)

_STORES = (
    Alert(
        "EncoreOperationStuck",
        f"max by (job, instance, store, operation) ({OPERATION_OLDEST.name}) > 600",
        "1m",
        "warning",
        "{{ $labels.operation }} of store {{ $labels.store }} has been under way for {{ $value | humanizeDuration }}",
        "It started on {{ $labels.instance }} more than 10 minutes ago, and has not ended.",
        "an operation has been in progress for more than 10 minutes",
        "An operation hangs, or a stream was opened and neither read to its end nor closed. It may hold a transaction, "
        "a lock or a connection.",
        "With the log at debug, its `store.operation.started` has the key and the operation_id, and no "
        "`store.operation.ended` follows. Dump the stacks of the process (py-spy dump) to see where it waits. Is a "
        "transfer of more than 10 minutes normal there, silence the alert for that store and operation.",
    ),
    Alert(
        "EncoreNoRecentWrite",
        f'time() - max by (job, store) (max_over_time({LAST_SUCCESS.name}{{direction="write"}}[3d])) > 86400',
        "5m",
        "info",
        "Nothing was written to store {{ $labels.store }} of {{ $labels.job }} for {{ $value | humanizeDuration }}",
        "The last write that succeeded is more than a day ago.",
        "the last write that succeeded is more than a day ago",
        "A store that was written to is not any more. Nothing need have failed: whoever writes may have stopped, which "
        "no error ratio shows. A program that has ended is remembered for 3 days.",
        "Look for the job that writes there: does it run, and does it still use this store? Is a pause of days normal "
        "for the store, silence the alert for it.",
        OF_THE_JOB,
    ),
)


_PRESENT = LABEL_OVERFLOW.name  # the one metric that is there before any store has done anything

_OBSERVER = (
    Alert(
        "EncoreListenerErrors",
        _counted(LISTENER_ERRORS.name, "job, instance, event, listener"),
        "0m",
        "warning",
        "The listener {{ $labels.listener }} of {{ $labels.instance }} fails",
        "Calls for a {{ $labels.event }} that raised in the last 10 minutes: about {{ $value | humanize }}.",
        "a listener raises",
        "Code that listens to Encore's events raises. No store call was harmed, but whatever that listener does is not "
        "done: if it is Encore's own, logs or metrics are missing something.",
        "The logger `encore_events` has the traceback. Mend the listener, or disconnect it. After a pause in scraping, "
        "or when Prometheus is new, errors from before are told as if they had just happened.",
    ),
    Alert(
        "EncoreEventsDropped",
        _counted(DROPPED.name, "job, instance, queue, reason"),
        "0m",
        "warning",
        "Events were dropped on {{ $labels.instance }}: {{ $labels.queue }}, {{ $labels.reason }}",
        "Events that were accepted and not delivered in the last 10 minutes: about {{ $value | humanize }}.",
        "events are accepted and not delivered",
        "Whoever reads that queue did not hear of everything that happened.",
        "By the reason: `close`, the event manager was closed before its worker was through, so give `close` more "
        "time; `exit`, the program ended with more to tell than the 5 seconds at its end allow. Any other is the "
        "queue's own: its consumer is too slow, or its buffer too small.",
    ),
    Alert(
        "EncoreLabelOverflow",
        f"sum by (job, instance, label) (increase({LABEL_OVERFLOW.name}[10m])) > 0",
        "0m",
        "warning",
        "The label {{ $labels.label }} has too many values on {{ $labels.instance }}",
        "Samples are counted under `_overflow`, about {{ $value | humanize }} in the last 10 minutes.",
        "samples are counted under `_overflow`",
        "There are more names than the metrics tell apart, 200 by default. What comes later is added up under "
        "`_overflow`, so dashboards and alerts can't tell it apart either.",
        "If stores are named after users, days or requests, name them after what they are for. If there really are so "
        "many, connect `MetricsSubscriber(max_stores=...)`.",
    ),
    Alert(
        "EncoreMetricsAbsent",
        f"group by (job) (present_over_time({_PRESENT}[1d])) unless group by (job) ({_PRESENT})\n"
        f'or\nlabel_replace(absent_over_time({_PRESENT}[1d]), "job", "any job", "", "")',
        "5m",
        "warning",
        "There are no metrics of Encore from {{ $labels.job }}",
        "Nothing is known of any store there for 5 minutes, and none of the other alerts can fire.",
        "no instance of a job that had Encore's metrics within a day has them, or none ever had",
        "Prometheus reaches no instance of a job that had Encore's metrics within the last day, or has never had any.",
        "Does the program run, with `monitor(port=...)`, and is the port the one that Prometheus scrapes? Look at Up "
        "on the dashboard and at the page of targets in Prometheus. Has the program ended on purpose, the alert ends "
        "within a day.",
        OF_THE_JOB,
    ),
)
