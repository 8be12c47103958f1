"""The dashboard of one store: what it does now, its transactions, and each of its operations in a row of its own."""

from __future__ import annotations

from dashboards.builder.header import NO_OPERATIONS, PLAIN, RATIO
from dashboards.builder.health import OUTCOME_COLOURS, ROLLBACK_RATIO, TRANSACTIONS_BY_OUTCOME
from dashboards.builder.model import GREEN, ORANGE, RED, Board, Panel, Query, Section
from dashboards.builder.promql import ANSWERED, error_ratio, errors, mean, of, operations, quantile, rate
from encore_storage.subscribers.catalogue import (
    KEY_CHANGES,
    LAST_SUCCESS,
    OPERATION_DURATION,
    OPERATION_OLDEST,
    OPERATIONS_IN_PROGRESS,
    TRANSACTION_DURATION,
    TRANSACTION_OPERATIONS,
    TRANSFERRED_BYTES,
    VALUE_SIZE,
)

OPERATION = 'operation=~"$operation"'

NOW = Section(
    "$store",
    (
        Panel(
            "Operations",
            "How many operations end in a second?",
            "Zero: nobody asks, or what was asked hangs; see Oldest in flight.",
            "ops",
            (Query(operations()),),
            kind="stat",
            width=4,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Error ratio",
            "Which share of the operations fails right now?",
            "The rows below say which operation, and with what.",
            "percentunit",
            (Query(error_ratio()),),
            kind="stat",
            width=4,
            height=4,
            thresholds=RATIO,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "p99 latency",
            "Within which time do 99 of 100 answers arrive, to the last byte?",
            "The rows below say which operation it is.",
            "s",
            (Query(quantile(0.99, OPERATION_DURATION, ANSWERED)),),
            kind="stat",
            width=4,
            height=4,
            thresholds=PLAIN,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "Throughput",
            "How many bytes are read and written in a second?",
            "One of them at zero, where both should move: see the operations of that direction.",
            "Bps",
            (Query(rate(TRANSFERRED_BYTES, by="direction"), "{{direction}}"),),
            kind="stat",
            width=4,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Oldest in flight",
            "How long ago did the oldest operation start that has not ended?",
            "Minutes and growing: it hangs, and may hold a transaction or a lock.",
            "s",
            (Query(f"max({of(OPERATION_OLDEST)})"),),
            kind="stat",
            width=4,
            height=4,
            thresholds=((None, GREEN), (60.0, ORANGE), (600.0, RED)),
        ),
        Panel(
            "Since the last success",
            "When were bytes last read and written with success?",
            "Longer than its usual pause: nothing succeeds any more, or nobody asks.",
            "s",
            (Query(f"time() - max by (direction) ({of(LAST_SUCCESS)})", "{{direction}}"),),
            kind="stat",
            width=4,
            height=4,
            thresholds=PLAIN,
        ),
        Panel(
            "Keys changed",
            "How many keys are set, updated and deleted for good, in a second?",
            "Many updates of few keys are a hot spot; many deletes may be a mistake under way.",
            "ops",
            (Query(rate(KEY_CHANGES, by="action"), "{{action}}"),),
            stacked=True,
        ),
        Panel(
            "Mean value size",
            "How large is a value on average?",
            "Compare with the latency: large values take long.",
            "bytes",
            (Query(mean(VALUE_SIZE, by="direction"), "{{direction}}"),),
        ),
        Panel(
            "Errors by kind",
            "What goes wrong, and how often?",
            "The log has the exception of each: `store.operation.ended` with the same error_type.",
            "ops",
            (Query(errors("error_type"), "{{error_type}}"),),
            stacked=True,
        ),
    ),
)

TRANSACTIONS = Section(
    "Transactions of $store",
    (
        TRANSACTIONS_BY_OUTCOME,
        ROLLBACK_RATIO,
        Panel(
            "Transaction duration",
            "How long do transactions take?",
            "While one is open, other writers wait: p99 is how long the unlucky ones do.",
            "s",
            tuple(
                Query(quantile(share, TRANSACTION_DURATION, by="outcome"), f"{{{{outcome}}}} {name}")
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ),
        ),
        Panel(
            "Operations for each transaction",
            "How much is done in one transaction, on average?",
            "About 1 means that batches are not used; thousands, that a failure throws a lot away.",
            "short",
            (Query(mean(TRANSACTION_OPERATIONS, by="outcome"), "{{outcome}}"),),
            colours=OUTCOME_COLOURS,
            width=24,
            height=6,
        ),
    ),
)

EACH_OPERATION = Section(
    "$operation",
    (
        Panel(
            "Outcomes",
            "How does this operation end, and how often?",
            "error: see the next panel. cancelled: streams that are not closed.",
            "ops",
            (Query(operations(OPERATION, by="outcome"), "{{outcome}}"),),
            width=6,
            stacked=True,
            colours={"ok": GREEN, "miss": "blue", "error": RED, "cancelled": ORANGE},
        ),
        Panel(
            "Error ratio",
            "Which share of it fails?",
            "The kinds of its errors are in Errors by kind, above, and in the log.",
            "percentunit",
            (Query(error_ratio("", OPERATION), "errors"),),
            width=6,
        ),
        Panel(
            "Latency",
            "How long does it take, from the call to the last byte?",
            "p50 and p99 apart: look at the heatmap of the overview for a second crowd.",
            "s",
            tuple(
                Query(quantile(share, OPERATION_DURATION, ANSWERED, OPERATION), name, exemplars=True)
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
            width=6,
            colours={"p50": GREEN, "p95": ORANGE, "p99": RED},
        ),
        Panel(
            "In flight",
            "How many are under way?",
            "A number that only grows: streams are opened and not closed, or the store hangs.",
            "short",
            (Query(f"sum({of(OPERATIONS_IN_PROGRESS, OPERATION)})", "in flight"),),
            width=6,
        ),
    ),
    repeat="operation",
)

STORE = Board(
    uid="encore-store",
    title="Encore / Store",
    description="One store: choose it above. Each of its operations has a row of its own; several stores are added up.",
    sections=(NOW, TRANSACTIONS, EACH_OPERATION),
)
