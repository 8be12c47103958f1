"""The sections about saturation, transactions, Encore itself and the process."""

from __future__ import annotations

from dashboards.builder.model import BLUE, GREEN, ORANGE, RED, Panel, Query, Section
from dashboards.builder.promql import OBSERVED, increase, mean, of, of_programs, of_target, quantile, rate, ratio
from encore_storage.subscribers.catalogue import (
    DROPPED,
    LABEL_OVERFLOW,
    LAST_SUCCESS,
    LISTENER_ERRORS,
    OPERATION_OLDEST,
    OPERATIONS_IN_PROGRESS,
    PROCESSES,
    TRANSACTION_DURATION,
    TRANSACTION_OPERATIONS,
    TRANSACTIONS,
    TRANSACTIONS_IN_PROGRESS,
)

OUTCOME_COLOURS = {
    "committed": GREEN,
    "closed": BLUE,
    "rolled_back": ORANGE,
    "commit_failed": RED,
    "rollback_failed": "dark-red",
}

_ROLLED_BACK = rate(TRANSACTIONS, 'outcome="rolled_back"', by="store")
_WITH_WORK = rate(TRANSACTIONS, 'outcome!="closed"', by="store")
"""Transactions that wrote something or failed."""

SATURATION = Section(
    "Saturation",
    (
        Panel(
            "In flight by operation",
            "Which operations are in progress, and how many?",
            "More than there are workers: streams are left open. All of one operation: the store is slow at that one.",
            "short",
            (Query(f"sum by (operation) ({of(OPERATIONS_IN_PROGRESS)})", "{{operation}}"),),
            stacked=True,
        ),
        Panel(
            "Oldest in flight",
            "How long have the ten oldest operations been in progress? 0 if there are none.",
            "A line that keeps rising is an operation that hangs: at log level debug, its start is in the log with its "
            "key.",
            "s",
            (Query(f"topk(10, max by (store, operation) ({of(OPERATION_OLDEST)}))", "{{store}} {{operation}}"),),
        ),
        Panel(
            "Time since the last success",
            "How long ago were bytes last read or written successfully?",
            "If it rises despite traffic, nothing succeeds any more, even without errors.",
            "s",
            (
                Query(
                    f"time() - max by (store, direction) ({of(LAST_SUCCESS)})",
                    "{{store}} {{direction}}",
                ),
            ),
        ),
    ),
)

TRANSACTIONS_BY_OUTCOME = Panel(
    "Commits and rollbacks",
    "How many transactions end per second, and how?",
    "commit_failed and rollback_failed fire a critical alert: see the log for the error. closed: nothing was written.",
    "ops",
    (Query(rate(TRANSACTIONS, by="outcome"), "{{outcome}}"),),
    colours=OUTCOME_COLOURS,
    empty="no transactions",
)

ROLLBACK_RATIO = Panel(
    "Rollback ratio",
    "What share of the transactions is rolled back? Closed ones, which wrote nothing, do not count.",
    "The log line `store.transaction.rolled_back` has the error.",
    "percentunit",
    (Query(ratio(_ROLLED_BACK, _WITH_WORK), "{{store}}"),),
    thresholds=((None, GREEN), (0.05, ORANGE), (0.1, RED)),
    empty="no transactions",
)

OPERATIONS_PER_TRANSACTION = Panel(
    "Operations for each transaction",
    "How many operations does a transaction have on average?",
    "About 1: no batching. Thousands: a failure discards a lot of work.",
    "short",
    (Query(mean(TRANSACTION_OPERATIONS, by="outcome"), "{{outcome}}"),),
    colours=OUTCOME_COLOURS,
    empty="no transactions",
)

TRANSACTION_SECTION = Section(
    "Transactions",
    (
        TRANSACTIONS_BY_OUTCOME,
        ROLLBACK_RATIO,
        Panel(
            "Transactions in progress",
            "How many transactions are open?",
            "A transaction that stays open blocks all other writers of its store.",
            "short",
            (Query(f"sum by (store) ({of(TRANSACTIONS_IN_PROGRESS)})", "{{store}}"),),
            empty="no transactions",
        ),
        Panel(
            "Transaction duration, p99",
            "How long do 99 % of the transactions take at most?",
            "Long transactions block others: make them smaller, or move slow work out of them.",
            "s",
            (Query(quantile(0.99, TRANSACTION_DURATION, by="outcome"), "{{outcome}}"),),
            colours=OUTCOME_COLOURS,
            empty="no transactions",
        ),
        OPERATIONS_PER_TRANSACTION,
        Panel(
            "Work thrown away",
            "How many operations per second were in transactions that failed?",
            "Use smaller batches, or check what can fail before the first write.",
            "ops",
            (
                Query(
                    rate(TRANSACTION_OPERATIONS, 'outcome!~"committed|closed"', by="store, outcome", suffix="_sum"),
                    "{{store}} {{outcome}}",
                ),
            ),
            stacked=True,
            empty="no discarded operations",
        ),
    ),
)

LIBRARY = Section(
    "The observer observed",
    (
        Panel(
            "Listener errors",
            "How often do listeners fail? Store calls are not affected.",
            "The logger `encore_events` has the tracebacks.",
            "ops",
            (Query(rate(LISTENER_ERRORS, by="event, listener"), "{{listener}} ({{event}})"),),
            empty="no listener errors",
        ),
        Panel(
            "Dropped events",
            "How many events were accepted but never delivered?",
            "Use a faster consumer or a larger buffer; dropped events are missing from logs and metrics.",
            "ops",
            (Query(rate(DROPPED, by="queue, reason"), "{{queue}}: {{reason}}"),),
            empty="no dropped events",
        ),
        Panel(
            "Label overflow",
            "Are there more names of stores, listeners or queues than the metrics can distinguish?",
            "Use fewer store names, not one for each user or day; or raise max_stores of MetricsSubscriber.",
            "ops",
            (Query(rate(LABEL_OVERFLOW, by="label"), "{{label}}"),),
        ),
        Panel(
            "Up",
            "Which instances can Prometheus scrape?",
            "Down: the process has ended, or its port has changed. Nothing is recorded meanwhile.",
            "bool_on_off",
            (
                Query(
                    f"{of_target('up')} and on (job, instance) {increase(LABEL_OVERFLOW, by='job, instance')}",
                    "{{job}} {{instance}}",
                ),
            ),
            kind="state-timeline",
            states={"0": ("down", RED), "1": ("up", GREEN)},
        ),
        Panel(
            "Processes",
            "How many processes does each group have?",
            "Fewer than expected: workers have ended or cannot join the group; the log says why.",
            "short",
            (Query(f"sum by (group) ({of(PROCESSES)})", "{{group}}"),),
            empty="no groups",
        ),
        Panel(
            "Scrape duration",
            "How long does a scrape take?",
            "Near the scrape timeout, samples are lost: scrape less often, or reduce the series.",
            "s",
            (Query(of_programs("scrape_duration_seconds"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "Series",
            "How many samples does a scrape have?",
            "Endless growth is a label with too many values: see Label overflow.",
            "short",
            (Query(of_programs("scrape_samples_scraped"), "{{job}} {{instance}}"),),
        ),
    ),
)

PROCESS = Section(
    "Process",
    (
        Panel(
            "CPU",
            "How many CPU cores does the program use?",
            "Near 1, a Python program is at its limit, and the latency of every store grows.",
            "short",
            (
                Query(
                    f"rate({of_target('process_cpu_seconds_total')}[$__rate_interval]) {OBSERVED}",
                    "{{job}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Resident memory",
            "How much memory does the program use?",
            "If it grows with In flight, open streams hold their buffers.",
            "bytes",
            (Query(of_programs("process_resident_memory_bytes"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "File descriptors",
            "What share of the available file descriptors is in use?",
            "Near 100 %, opening files fails: look for streams and stores that are never closed.",
            "percentunit",
            (
                Query(
                    f"{of_target('process_open_fds')} / {of_target('process_max_fds')} {OBSERVED}",
                    "{{job}} {{instance}}",
                ),
            ),
            thresholds=((None, GREEN), (0.7, ORANGE), (0.9, RED)),
        ),
    ),
)
