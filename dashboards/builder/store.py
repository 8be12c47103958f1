"""The dashboard of one store: what it does now, its transactions, and each of its operations in a row of its own."""

from __future__ import annotations

from dataclasses import replace

from dashboards.builder.activity import ERRORS_BY_KIND, KEYS_CHANGED, LATENCY_COLOURS, MEAN_VALUE_SIZE, latency_queries
from dashboards.builder.figures import ERROR_RATIO_NOW, NO_OPERATIONS, OPERATIONS_NOW, P99_NOW, figure
from dashboards.builder.health import OPERATIONS_PER_TRANSACTION, ROLLBACK_RATIO, TRANSACTIONS_BY_OUTCOME
from dashboards.builder.model import GREEN, ORANGE, RED, Board, Panel, Query, Section
from dashboards.builder.promql import error_ratio, of, operations, quantile, rate
from encore_storage.subscribers.catalogue import (
    LAST_SUCCESS,
    OPERATION_OLDEST,
    OPERATIONS_IN_PROGRESS,
    TRANSACTION_DURATION,
    TRANSFERRED_BYTES,
)

OPERATION = 'operation=~"$operation"'

NOW = Section(
    "$store",
    (
        OPERATIONS_NOW,
        ERROR_RATIO_NOW,
        P99_NOW,
        figure(
            "Throughput",
            "How many bytes are read and written in a second?",
            "One of them at zero, where both should move: see the operations of that direction.",
            "Bps",
            Query(rate(TRANSFERRED_BYTES, by="direction"), "{{direction}}"),
        ),
        figure(
            "Oldest in flight",
            "How long ago did the oldest operation start that has not ended?",
            "Minutes and growing: it hangs, and may hold a transaction or a lock.",
            "s",
            Query(f"max({of(OPERATION_OLDEST)})"),
            thresholds=((None, GREEN), (60.0, ORANGE), (600.0, RED)),
        ),
        figure(
            "Since the last success",
            "When were bytes last read and written with success?",
            "Longer than its usual pause: nothing succeeds any more, or nobody asks.",
            "s",
            Query(f"time() - max by (direction) ({of(LAST_SUCCESS)})", "{{direction}}"),
            empty="never",
        ),
        KEYS_CHANGED,
        MEAN_VALUE_SIZE,
        replace(ERRORS_BY_KIND, width=8),
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
            empty="no transactions",
        ),
        replace(OPERATIONS_PER_TRANSACTION, width=24, height=6),
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
            empty=NO_OPERATIONS,
        ),
        Panel(
            "Latency",
            "How long does it take, from the call to the last byte?",
            "p50 and p99 apart: look at the heatmap of the overview for a second crowd.",
            "s",
            latency_queries(OPERATION),
            width=6,
            colours=LATENCY_COLOURS,
            empty=NO_OPERATIONS,
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
