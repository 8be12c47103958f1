"""What stores do, section by section: traffic, errors, latency and bytes."""

from __future__ import annotations

from dashboards.builder.figures import NO_OPERATIONS
from dashboards.builder.model import GREEN, ORANGE, RED, Column, Panel, Query, Section
from dashboards.builder.promql import (
    ANSWERED,
    error_ratio,
    mean,
    of,
    operations,
    quantile,
    rate,
    slow_ratio,
)
from encore_storage.subscribers.catalogue import (
    KEY_CHANGES,
    OPERATION_DURATION,
    OPERATION_ERRORS,
    STORE_INFO,
    TRANSFERRED_BYTES,
    VALUE_SIZE,
)

TO_STORE = (
    "/d/encore-store?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    "&var-store=${__value.raw:percentencode}"
)
"""Where the name of a store leads: to its own dashboard, with the same time range and variables."""

LATENCY_COLOURS = {"p50": GREEN, "p95": ORANGE, "p99": RED}


def latency_queries(*matchers: str) -> tuple[Query, ...]:
    """How long answers take: half of them, most, nearly all; with single operations, on one of the lines."""
    return tuple(
        Query(quantile(share, OPERATION_DURATION, ANSWERED, *matchers), name, exemplars=name == "p99")
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


KEYS_CHANGED = Panel(
    "Keys changed",
    "How many keys are set, updated and deleted for good, in a second?",
    "More deletes than usual: find out whose they are before they are all done. What a transaction rolls back "
    "is not in here.",
    "ops",
    (Query(rate(KEY_CHANGES, by="action"), "{{action}}"),),
    stacked=True,
)

ERRORS_BY_KIND = Panel(
    "Errors by kind",
    "What goes wrong, and how often?",
    "The log has the exception of each: `store.operation.ended` with the same error_type.",
    "ops",
    (Query(rate(OPERATION_ERRORS, by="error_type"), "{{error_type}}"),),
    width=6,
    stacked=True,
    empty="no errors",
)

MEAN_VALUE_SIZE = Panel(
    "Mean value size",
    "How large is a value on average?",
    "A mean that moves while the number of operations doesn't tells of other data, not of more.",
    "bytes",
    (Query(mean(VALUE_SIZE, by="direction"), "{{direction}}"),),
)

TRAFFIC = Section(
    "Traffic",
    (
        Panel(
            "Operations by operation",
            "What is asked of the stores, and how often?",
            "An operation that dominates unexpectedly is often a loop: exists or get_metadata before each get.",
            "ops",
            (Query(operations(by="operation"), "{{operation}}"),),
            stacked=True,
        ),
        Panel(
            "Operations by store",
            "Which store has the load?",
            "A store that falls to zero alone has lost its caller; all together, their program.",
            "ops",
            (Query(operations(by="store"), "{{store}}"),),
            stacked=True,
        ),
        KEYS_CHANGED,
        Panel(
            "Busiest operations",
            "Which operations of which stores do the most, and how do they do?",
            "Sort by a heading; a store's name leads to its own dashboard.",
            "short",
            (
                Query(operations(by="store, operation")),
                Query(error_ratio("store, operation")),
                Query(f"{quantile(0.99, OPERATION_DURATION, ANSWERED, by='store, operation')} >= 0"),
                Query(rate(TRANSFERRED_BYTES, by="store, operation")),
            ),
            kind="table",
            width=16,
            columns={
                "store": Column("Store", link=TO_STORE),
                "operation": Column("Operation"),
                "A": Column("Operations", "ops"),
                "B": Column("Errors", "percentunit"),
                "C": Column("p99", "s"),
                "D": Column("Bytes", "Bps"),
            },
        ),
        Panel(
            "Stores",
            "Which stores are there, and of which kind?",
            "A store that is missing has not done anything since its program started; `_overflow` means that there are "
            "too many names.",
            "short",
            (Query(f"count by (store, backend) ({of(STORE_INFO)})"),),
            kind="table",
            columns={
                "store": Column("Store", link=TO_STORE),
                "backend": Column("Backend"),
                "A": Column("Instances", "short"),
            },
        ),
    ),
)

ERRORS = Section(
    "Errors",
    (
        Panel(
            "Error ratio by operation",
            "Which operation fails, and how much of it?",
            "Writes alone: the store is full or read-only. All together: it can't be reached.",
            "percentunit",
            (Query(error_ratio("operation"), "{{operation}}"),),
            width=6,
            empty=NO_OPERATIONS,
        ),
        ERRORS_BY_KIND,
        Panel(
            "Misses",
            "How often is a key asked for that isn't there? A miss is an answer, not an error.",
            "A cache that misses more than usual was emptied, or its keys have changed.",
            "ops",
            (Query(operations('outcome="miss"', by="operation"), "{{operation}}"),),
            width=6,
            stacked=True,
            empty="no misses",
        ),
        Panel(
            "Cancelled",
            "How often is an operation given up: interrupted, or its stream left open until it was collected?",
            "Steady numbers are a leak: some code opens streams and doesn't close them.",
            "ops",
            (Query(operations('outcome="cancelled"', by="operation"), "{{operation}}"),),
            width=6,
            stacked=True,
            empty="none was cancelled",
        ),
    ),
)

LATENCY = Section(
    "Latency",
    (
        Panel(
            "Latency",
            "How long do answers take, from the call to the last byte? The dots are single operations with their "
            "operation_id.",
            "Look up a dot's operation_id in the log: that line has the key, the bytes and the transaction.",
            "s",
            latency_queries(),
            width=12,
            colours=LATENCY_COLOURS,
        ),
        Panel(
            "p99 by operation",
            "Which operation is the slow one?",
            "Large values take long to read: compare with the value sizes before you blame the store.",
            "s",
            (Query(quantile(0.99, OPERATION_DURATION, ANSWERED, by="operation"), "{{operation}}"),),
            width=12,
            logarithmic=True,
        ),
        Panel(
            "Latency heatmap",
            "Are all answers slow, or are there two crowds?",
            "A second band above the first is another path: a cold cache, a lock that is waited for, a slow disk.",
            "s",
            (Query(rate(OPERATION_DURATION, ANSWERED, by="le", suffix="_bucket"), "{{le}}"),),
            kind="heatmap",
            width=16,
            height=9,
        ),
        Panel(
            "Slower than the target",
            "Which share of the answers takes longer than the latency target of the objective?",
            "Above what the objective allows, the latency alerts are on their way: see the SLO dashboard.",
            "percentunit",
            (Query(slow_ratio("operation"), "{{operation}}"),),
            height=9,
        ),
    ),
)

BYTES = Section(
    "Bytes",
    (
        Panel(
            "Throughput",
            "How many bytes move in a second, while they move?",
            "A flat top is a limit: of the disk, of the network or of a quota.",
            "Bps",
            (Query(rate(TRANSFERRED_BYTES, by="direction"), "{{direction}}"),),
        ),
        MEAN_VALUE_SIZE,
        Panel(
            "Value size percentiles",
            "How large are most values, and how large are the largest?",
            "A p99 far above the p50 explains a p99 of the latency that is, too.",
            "bytes",
            tuple(
                Query(quantile(share, VALUE_SIZE, by="direction"), f"{{{{direction}}}} {name}")
                for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
            ),
            logarithmic=True,
        ),
    ),
)
