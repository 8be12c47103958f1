"""The dashboard of one store: current state, transactions, and a row for each operation."""

from __future__ import annotations

from dataclasses import replace

from dashboards.builder.activity import ERRORS_BY_KIND, KEYS_CHANGED, LATENCY_COLOURS, MEAN_VALUE_SIZE, latency_queries
from dashboards.builder.clients import FIRST_BYTE_LATENCY, HIT_RATIO, ITEMS, READ_AMPLIFICATION, RETRIES
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
            "How many bytes are read and written per second?",
            "One of them unexpectedly zero: see the operations of that direction.",
            "Bps",
            Query(rate(TRANSFERRED_BYTES, by="direction"), "{{direction}}"),
        ),
        figure(
            "Oldest in flight",
            "How long has the oldest operation been in progress?",
            "Minutes and growing: it hangs, and may hold a transaction or a lock.",
            "s",
            Query(f"max({of(OPERATION_OLDEST)})"),
            thresholds=((None, GREEN), (60.0, ORANGE), (600.0, RED)),
        ),
        figure(
            "Since the last success",
            "How long ago were bytes last read and written successfully?",
            "Longer than usual: nothing succeeds any more, or nothing is called.",
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
            "An open transaction blocks other writers, for up to the p99 in bad cases.",
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

MEASURES = Section(
    "Hits, retries and items of $store",
    (HIT_RATIO, RETRIES, FIRST_BYTE_LATENCY, replace(READ_AMPLIFICATION, width=12), replace(ITEMS, width=12)),
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
            "What share of it fails?",
            "See Errors by kind above, and the log.",
            "percentunit",
            (Query(error_ratio("", OPERATION), "errors"),),
            width=6,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "Latency",
            "How long does it take, from the call to the last byte?",
            "If p50 and p99 are far apart, see the heatmap of the overview.",
            "s",
            latency_queries(OPERATION),
            width=6,
            colours=LATENCY_COLOURS,
            empty=NO_OPERATIONS,
        ),
        Panel(
            "In flight",
            "How many are in progress?",
            "Steady growth: streams are not closed, or the store hangs.",
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
    description="One store, selected above, with a row for each operation. Several stores are added up.",
    sections=(NOW, TRANSACTIONS, MEASURES, EACH_OPERATION),
)
