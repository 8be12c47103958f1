"""The alert rules and their runbook paragraphs."""

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
    OPERATION_DURATION,
    OPERATION_OLDEST,
    OPERATION_RETRIES,
    TRANSACTIONS,
)

Severity = Literal["critical", "warning", "info"]

OF_THE_JOB: Mapping[str, str] = {"instance": "all"}
"""Labels of an alert about a whole job, so that it matches when all instances are selected."""


@dataclass(frozen=True)
class Alert:
    """One alert rule, and its paragraph in the runbook.

    Attributes:
        name: of the alert; rules with different labels may share it.
        expr: PromQL condition.
        holds: how long the condition must hold before the alert fires, such as '5m'.
        severity: critical pages somebody; warning can wait for working hours; info is shown only.
        summary: one line, with placeholders such as {{ $labels.store }}.
        description: one or two sentences with the measured values.
        when: the condition in words.
        means: what has happened.
        do: what to do about it.
        labels: in addition to the severity.
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
    """A burn rate of the error budget that fires an alert if exceeded in both windows.

    Attributes:
        short: the window that resolves the alert soon after recovery.
        long: the window that keeps short incidents from firing it.
        factor: burn rate; 1 spends the budget in exactly 30 days.
        holds: as in `Alert`.
        severity: as in `Alert`.
        spent: the share of the budget that this spends, in words.
    """

    short: str
    long: str
    factor: float
    holds: str
    severity: Severity
    spent: str


@dataclass(frozen=True)
class Violation:
    """Forms of the phrase that describes a violation.

    Attributes:
        of_store: predicate of a store, such as 'fails too often'.
        past: past tense, such as 'operations failed'.
        present: present tense, such as 'operations fail'.
    """

    of_store: str
    past: str
    present: str


# Google's SRE Workbook, chapter 5, "Alerting on SLOs", with a budget of 30 days.
BURNS = (
    Burn("5m", "1h", FASTEST_BURN, "2m", "critical", "2 % of the budget of 30 days in an hour"),
    Burn("30m", "6h", 6, "15m", "critical", "5 % of the budget of 30 days in 6 hours"),
    Burn("2h", "1d", 3, "1h", "warning", "10 % of the budget of 30 days in a day"),
    Burn("6h", "3d", 1, "3h", "warning", "10 % of the budget of 30 days in 3 days"),
)


def alerts(slo: Slo) -> tuple[Alert, ...]:
    """Return all alerts, in the order of the runbook."""
    return (*_availability(slo), *_latency(slo), *_TRANSACTIONS, *_STORES, *_CLIENTS, *_OBSERVER)


def _burn_alerts(sli: Sli, slo: Slo, name: str, violation: Violation, *, means: str, do: str) -> Iterator[Alert]:
    """Yield an alert for each burn rate."""
    for burn in BURNS:
        threshold = f"> {burn.factor:g} * (1 - {slo.objective_ratio})"
        yield Alert(
            name,
            f"{sli.ratio(burn.short)} {threshold}\nand\n{sli.ratio(burn.long)} {threshold}",
            burn.holds,
            burn.severity,
            f"Store {{{{ $labels.store }}}} of {{{{ $labels.job }}}} {violation.of_store} for its objective",
            f"{{{{ $value | humanizePercentage }}}} of its {violation.past} in the last {burn.short}, "
            f"and too many in the last {burn.long}, too: at this rate, {burn.spent}.",
            f"{violation.present} {_frequency(burn)}",
            means,
            do,
            {**OF_THE_JOB, "window": f"{burn.short}/{burn.long}"},
        )


def _frequency(burn: Burn) -> str:
    times = f"{burn.factor:g} times as" if burn.factor > 1 else "more"
    than = "as" if burn.factor > 1 else "than"
    return f"{times} often {than} the objective allows, over {burn.long} and over {burn.short}"


def _availability(slo: Slo) -> Iterator[Alert]:
    return _burn_alerts(
        AVAILABILITY,
        slo,
        "EncoreErrorBudgetBurn",
        Violation("fails too often", "operations failed", "operations fail"),
        means="At this error rate, the objective will be missed. The label `window` shows the speed: `5m/1h` is an "
        "outage, `6h/3d` a fault that has lasted for days.",
        do="Open the dashboard of the store: its rows show which operations fail, and Errors by kind shows why. "
        "`connection` and `timeout` point to the store or the network, `permission_denied` and `read_only` to missing "
        "permissions, `invalid` and `not_found` to the caller. `quota_exceeded` is either missing space or throttling. "
        "The log line `store.operation.ended` has the exception or its code, which shows which of the two it is. "
        "`No space left on device`, `SQLITE_FULL`, `53100` or `507`: space is missing, all writes fail, reads succeed; "
        "free some space. `SlowDown`, `503`, `Throttling...` or `ProvisionedThroughputExceededException`: the service "
        "throttles, reads fail as well, and there were retries before (the panel Retries); lower the concurrency or "
        "ask for a higher limit. `53300`: the database has no free connections; use smaller pools.",
    )


def _latency(slo: Slo) -> Iterator[Alert]:
    return _burn_alerts(
        LATENCY,
        slo,
        "EncoreLatencyBudgetBurn",
        Violation("answers too slowly", "answers took longer than the latency target", "answers are too slow"),
        means="So many answers take longer than the latency target that the objective will be missed. An answer is an "
        "operation that succeeded or found the key missing; it lasts until the last byte.",
        do="Open the dashboard of the store: is it one operation, and are the values larger than usual? A slow reader "
        "counts too, since a stream ends when it is read to the end or closed. If all stores are slow, check the CPU "
        "of the process.",
    )


def _counted(selector: str, by: str) -> str:
    """Return a condition for a counter that has grown or is new; `increase` misses the first increment of a new one."""
    grown = f"sum by ({by}) (increase({selector}[10m])) > 0"
    new = f"(sum by ({by}) ({selector}) unless sum by ({by}) ({selector} offset 10m)) > 0"
    return f"{grown}\nor\n{new}"


_LATE = "After a pause in scraping, or with a new Prometheus, old {} are reported as new."
_ROLLED_BACK = f'{TRANSACTIONS.name}{{outcome="rolled_back"}}'
_WITH_WORK = f'{TRANSACTIONS.name}{{outcome!="closed"}}'
_UNSAFE = f'{TRANSACTIONS.name}{{outcome=~"commit_failed|rollback_failed"}}'

_TRANSACTIONS = (
    Alert(
        "EncoreRollbackRatioHigh",
        f"sum by (job, store) (rate({_ROLLED_BACK}[15m]))\n/\nsum by (job, store) "
        f"(rate({_WITH_WORK}[15m]))\n> 0.1\n"
        f"and\nsum by (job, store) (increase({_ROLLED_BACK}[15m])) >= 3",
        "10m",
        "warning",
        "Store {{ $labels.store }} of {{ $labels.job }} rolls back {{ $value | humanizePercentage }} of its "
        "transactions",
        "More than 10 % of the transactions, and at least 3, were rolled back in the last 15 minutes.",
        "more than 10 % of a store's transactions are rolled back over 15 minutes, and at least 3",
        "The blocks of transactions raise, so their work is discarded. Transactions in which nothing was written and "
        "nothing failed (`closed`) do not count.",
        "The log line `store.transaction.rolled_back` has the error and the number of operations. For SQLAlchemy, its "
        "notes are the file and line that began the transaction, unless the program gives others. If the same step "
        "always fails, check its preconditions before the first write; if failures are occasional, make the "
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
        "`commit_failed`: the block succeeded, but the store could not commit; it rolled back. `rollback_failed`: the "
        "rollback failed, so the content of the store is unknown.",
        "The log lines `store.transaction.commit_failed` and `.rollback_failed` have the error: usually a full disk, a "
        "lost connection or a locked database. After a `rollback_failed`, check the data of that transaction (its "
        f"notes are in the line) before anything else writes there. {_LATE.format('failures')}",
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
        "An operation hangs, or a stream was neither read to its end nor closed. It may hold a transaction, a lock or "
        "a connection.",
        "At log level debug, `store.operation.started` has the key and the operation_id, and no "
        "`store.operation.ended` follows. Dump the stacks of the process (py-spy dump) to see where it waits. If "
        "transfers of more than 10 minutes are normal there, silence the alert for that store and operation.",
    ),
    Alert(
        "EncoreNoRecentWrite",
        f'time() - max by (job, store) (max_over_time({LAST_SUCCESS.name}{{direction="write"}}[3d])) > 86400',
        "5m",
        "info",
        "Nothing was written to store {{ $labels.store }} of {{ $labels.job }} for {{ $value | humanizeDuration }}",
        "The last write that succeeded is more than a day ago.",
        "the last write that succeeded is more than a day ago",
        "Writes to the store have stopped, perhaps without an error: the writer may not run any more. A program that "
        "has ended is remembered for 3 days.",
        "Find the job that writes there: does it run, and does it still use this store? If pauses of days are normal "
        "for the store, silence the alert for it.",
        OF_THE_JOB,
    ),
)


def _hit_ratio(window: str) -> str:
    """Return the share of the values looked up in the window that existed, for each job and store."""
    return f"sum by (job, store) (rate({_HITS}[{window}]))\n/\nsum by (job, store) (rate({_READS}[{window}]))"


_RETRIES = OPERATION_RETRIES.name
_OPERATIONS = f"{OPERATION_DURATION.name}_count"
_HITS = f'{_OPERATIONS}{{operation="get", outcome="ok"}}'
_READS = f'{_OPERATIONS}{{operation="get", outcome=~"ok|miss"}}'

_CLIENTS = (
    Alert(
        "EncoreRetriesHigh",
        f"sum by (job, store) (rate({_RETRIES}[15m]))\n/\nsum by (job, store) (rate({_OPERATIONS}[15m]))\n> 0.1\n"
        f"and\nsum by (job, store) (increase({_RETRIES}[15m])) >= 10",
        "10m",
        "warning",
        'Store {{ $labels.store }} of {{ $labels.job }} needs {{ $value | printf "%.2f" }} retries per operation',
        "More than one retry for ten operations, and at least 10, in the last 15 minutes.",
        "a store's operations need more than one retry for ten operations over 15 minutes, and at least 10",
        "The client repeats requests that the backend rejected or that were interrupted. The operations succeed for "
        "now, but they take longer, and they fail once the attempts are used up.",
        "The log line `store.operation.ended` has `attempts` where there were retries. Retries of all operations point "
        "to throttling (503, SlowDown) or to the network: lower the concurrency, spread the keys over prefixes, or ask "
        "for a higher limit. Retries of one operation point to a timeout that is too short for it.",
        OF_THE_JOB,
    ),
    Alert(
        "EncoreHitRatioLow",
        f"{_hit_ratio('1d')}\n-\n{_hit_ratio('30m')}\n> 0.2\nand\nsum by (job, store) (increase({_READS}[30m])) >= 100",
        "15m",
        "warning",
        "The hit ratio of store {{ $labels.store }} of {{ $labels.job }} is {{ $value | humanizePercentage }} below "
        "its average",
        "The share of keys that existed, of at least 100 read in the last 30 minutes, compared with the last day.",
        "the hit ratio of `get` over 30 minutes is more than 20 percentage points below its average of a day, with "
        "at least 100 reads",
        "Keys that used to exist are missing: a cache was cleared or is too small, or the keys have changed. What is "
        "behind the cache has more to do.",
        "Did a deployment change how keys are made, or their lifetime? Was the cache restarted or flushed? Does it "
        "evict, because it is full? The panel Hit ratio shows since when, and the log lines at level debug with the "
        "outcome `miss` have the keys. If the new ratio is the right one, the alert resolves as the average follows.",
        OF_THE_JOB,
    ),
)

_PRESENT = LABEL_OVERFLOW.name  # the only metric that exists before a store is used

_OBSERVER = (
    Alert(
        "EncoreListenerErrors",
        _counted(LISTENER_ERRORS.name, "job, instance, event, listener"),
        "0m",
        "warning",
        "The listener {{ $labels.listener }} of {{ $labels.instance }} fails",
        "Calls for a {{ $labels.event }} that raised in the last 10 minutes: about {{ $value | humanize }}.",
        "a listener raises",
        "A listener to Encore's events raises. Store calls are not affected, but the work of the listener is lost: if "
        "it is one of Encore's own, logs or metrics are incomplete.",
        f"The logger `encore_events` has the traceback. Fix the listener, or disconnect it. {_LATE.format('errors')}",
    ),
    Alert(
        "EncoreEventsDropped",
        _counted(DROPPED.name, "job, instance, queue, reason"),
        "0m",
        "warning",
        "Events were dropped on {{ $labels.instance }}: {{ $labels.queue }}, {{ $labels.reason }}",
        "Events that were accepted and not delivered in the last 10 minutes: about {{ $value | humanize }}.",
        "events are accepted and not delivered",
        "The reader of that queue has missed events.",
        "The reason `close` means that the event manager was closed before its queue was empty: give `close` more "
        "time. `exit` means that the program ended with more events than it could dispatch in 5 seconds. Any other "
        "reason belongs to the queue: its consumer is too slow, or its buffer too small.",
    ),
    Alert(
        "EncoreLabelOverflow",
        f"sum by (job, instance, label) (increase({LABEL_OVERFLOW.name}[10m])) > 0",
        "0m",
        "warning",
        "The label {{ $labels.label }} has too many values on {{ $labels.instance }}",
        "Samples are counted under `_overflow`, about {{ $value | humanize }} in the last 10 minutes.",
        "samples are counted under `_overflow`",
        "There are more names than the limit of the metrics (200 by default). Later names share the label `_overflow`, "
        "so dashboards and alerts cannot distinguish them.",
        "If stores are named after users, days or requests, name them after their purpose. If there really are so "
        "many, raise `MetricsSubscriber(max_stores=...)`.",
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
        "Prometheus cannot scrape any instance of a job that had Encore's metrics within the last day, or it never had "
        "any.",
        "Does the program run with `monitor(port=...)`, and does Prometheus scrape that port? Check Up on the "
        "dashboard and the targets page of Prometheus. If the program was ended on purpose, the alert resolves within "
        "a day.",
        OF_THE_JOB,
    ),
)
