"""How stores, their transactions, the library and the process are: saturation, rollbacks, and the observer observed."""

from __future__ import annotations

from dashboards.builder.model import GREEN, ORANGE, RED, Panel, Query, Section
from dashboards.builder.promql import OBSERVED, increase, mean, of, of_programs, of_target, quantile, rate, ratio
from encore_storage.subscribers.catalogue import (
    DROPPED,
    LABEL_OVERFLOW,
    LAST_SUCCESS,
    LISTENER_ERRORS,
    OPERATION_OLDEST,
    OPERATIONS_IN_PROGRESS,
    TRANSACTION_DURATION,
    TRANSACTION_OPERATIONS,
    TRANSACTIONS,
    TRANSACTIONS_IN_PROGRESS,
)

OUTCOME_COLOURS = {"committed": GREEN, "rolled_back": ORANGE, "commit_failed": RED, "rollback_failed": "dark-red"}

_ROLLED_BACK = rate(TRANSACTIONS, 'outcome="rolled_back"', by="store")

SATURATION = Section(
    "Saturation",
    (
        Panel(
            "In flight by operation",
            "How many operations are under way, and which?",
            "More than there are workers: streams are left open. All of one kind: the store is slow at just that.",
            "short",
            (Query(f"sum by (operation) ({of(OPERATIONS_IN_PROGRESS)})", "{{operation}}"),),
            stacked=True,
        ),
        Panel(
            "Oldest in flight",
            "How long ago did the oldest operations start that have not ended? The ten oldest, and 0 for what has "
            "ended.",
            "A line that climbs without end is an operation that hangs: its Start is in the log, at debug, with its "
            "key.",
            "s",
            (Query(f"topk(10, max by (store, operation) ({of(OPERATION_OLDEST)}))", "{{store}} {{operation}}"),),
        ),
        Panel(
            "Time since the last success",
            "When were bytes last read or written with success?",
            "A line that climbs where there should be traffic: nothing succeeds any more, whether anything fails or "
            "not.",
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
    "How many transactions end in a second, and how?",
    "commit_failed and rollback_failed are alerts: the store could not keep its promise. See the log for the error.",
    "ops",
    (Query(rate(TRANSACTIONS, by="outcome"), "{{outcome}}"),),
    colours=OUTCOME_COLOURS,
    empty="no transactions",
)

ROLLBACK_RATIO = Panel(
    "Rollback ratio",
    "Which share of the transactions is rolled back?",
    "The error that caused each is in the log line `store.transaction.rolled_back`.",
    "percentunit",
    (Query(ratio(_ROLLED_BACK, rate(TRANSACTIONS, by="store")), "{{store}}"),),
    thresholds=((None, GREEN), (0.05, ORANGE), (0.1, RED)),
    empty="no transactions",
)

OPERATIONS_PER_TRANSACTION = Panel(
    "Operations for each transaction",
    "How much is done in one transaction, on average?",
    "About 1 means that batches are not used; thousands, that a failure throws a lot away.",
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
            "One that stays open keeps every other writer of its store waiting.",
            "short",
            (Query(f"sum by (store) ({of(TRANSACTIONS_IN_PROGRESS)})", "{{store}}"),),
            empty="no transactions",
        ),
        Panel(
            "Transaction duration, p99",
            "How long do nearly all transactions take?",
            "Long transactions make others wait: make them smaller, or move slow work out of them.",
            "s",
            (Query(quantile(0.99, TRANSACTION_DURATION, by="outcome"), "{{outcome}}"),),
            colours=OUTCOME_COLOURS,
            empty="no transactions",
        ),
        OPERATIONS_PER_TRANSACTION,
        Panel(
            "Work thrown away",
            "How many operations in a second were done in vain, since their transaction was not committed?",
            "Retry smaller batches, or check what can fail before the first write.",
            "ops",
            (
                Query(
                    rate(TRANSACTION_OPERATIONS, 'outcome!="committed"', by="store, outcome", suffix="_sum"),
                    "{{store}} {{outcome}}",
                ),
            ),
            stacked=True,
            empty="nothing was thrown away",
        ),
    ),
)

LIBRARY = Section(
    "The observer observed",
    (
        Panel(
            "Listener errors",
            "Does a listener fail, so that somebody does not hear what happened? Stores don't notice.",
            "The logger `encore_events` has the traceback of each.",
            "ops",
            (Query(rate(LISTENER_ERRORS, by="event, listener"), "{{listener}} ({{event}})"),),
            empty="no listener ever failed",
        ),
        Panel(
            "Dropped events",
            "Are there events that were accepted and never delivered?",
            "Give the queue a faster consumer or a larger buffer; what is counted here is missing in logs and metrics.",
            "ops",
            (Query(rate(DROPPED, by="queue, reason"), "{{queue}}: {{reason}}"),),
            empty="none was ever dropped",
        ),
        Panel(
            "Label overflow",
            "Are there more names of stores (or listeners, queues) than the metrics tell apart?",
            "Give stores fewer names, not one for each user or day; or raise max_stores of MetricsSubscriber.",
            "ops",
            (Query(rate(LABEL_OVERFLOW, by="label"), "{{label}}"),),
        ),
        Panel(
            "Up",
            "Which instances does Prometheus reach?",
            "Down: the process has ended, or its port is another one. What happened meanwhile is not in these figures.",
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
            "Scrape duration",
            "How long does it take to collect the metrics?",
            "Near the scrape timeout, samples get lost: scrape less often, or have fewer series.",
            "s",
            (Query(of_programs("scrape_duration_seconds"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "Series",
            "How many samples does one scrape have?",
            "Growth without end is a label with too many values: see Label overflow.",
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
            "How many processors does the program keep busy?",
            "Near 1 and a Python program is at its limit: the latency of every store grows with it.",
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
            "How much memory does the program hold?",
            "Growing with In flight: streams that are open hold their buffers.",
            "bytes",
            (Query(of_programs("process_resident_memory_bytes"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "File descriptors",
            "Which share of the file descriptors that the program may have is in use?",
            "Near all of them, opening fails: look for streams and stores that are never closed.",
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
