"""The sections about operations: traffic, errors, latency and bytes."""

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
"""The link from a store's name to its dashboard, with the same time range and variables."""

LATENCY_COLOURS = {"p50": GREEN, "p95": ORANGE, "p99": RED}


def latency_queries(*matchers: str) -> tuple[Query, ...]:
    """Return the latency quantiles; p99 has exemplars."""
    return tuple(
        Query(quantile(share, OPERATION_DURATION, ANSWERED, *matchers), name, exemplars=name == "p99")
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


KEYS_CHANGED = Panel(
    "Keys changed",
    "How many keys are set, updated and deleted per second? Changes that were rolled back do not count.",
    "More deletes than usual: find out which program they come from.",
    "ops",
    (Query(rate(KEY_CHANGES, by="action"), "{{action}}"),),
    stacked=True,
)

ERRORS_BY_KIND = Panel(
    "Errors by kind",
    "Which errors occur, and how often?",
    "The log has each exception: `store.operation.ended` with the same error_type.",
    "ops",
    (Query(rate(OPERATION_ERRORS, by="error_type"), "{{error_type}}"),),
    width=6,
    stacked=True,
    empty="no errors",
)

MEAN_VALUE_SIZE = Panel(
    "Mean value size",
    "How large is a value on average?",
    "If it changes while the number of operations does not, the data has changed, not the load.",
    "bytes",
    (Query(mean(VALUE_SIZE, by="direction"), "{{direction}}"),),
)

TRAFFIC = Section(
    "Traffic",
    (
        Panel(
            "Operations by operation",
            "Which operations are called, and how often?",
            "An unexpectedly dominant operation is often a loop: exists or get_metadata before each get.",
            "ops",
            (Query(operations(by="operation"), "{{operation}}"),),
            stacked=True,
        ),
        Panel(
            "Operations by store",
            "Which stores carry the load?",
            "If one store falls to zero, its caller has stopped; if all do, the program has.",
            "ops",
            (Query(operations(by="store"), "{{store}}"),),
            stacked=True,
        ),
        KEYS_CHANGED,
        Panel(
            "Busiest operations",
            "Which operations of which stores are called most, and how do they perform?",
            "Click a heading to sort, or a store to open its dashboard.",
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
            "Which stores exist, and which backend do they use?",
            "A missing store has not been used since its program started; `_overflow` means that there are too many "
            "names.",
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
            "Which operations fail, and what share of them?",
            "Only writes: the store is full or read-only. All operations: it is unreachable.",
            "percentunit",
            (Query(error_ratio("operation"), "{{operation}}"),),
            width=6,
            empty=NO_OPERATIONS,
        ),
        ERRORS_BY_KIND,
        Panel(
            "Misses",
            "How often is a missing key requested? A miss is an answer, not an error.",
            "If a cache misses more than usual, it was cleared, or its keys have changed.",
            "ops",
            (Query(operations('outcome="miss"', by="operation"), "{{operation}}"),),
            width=6,
            stacked=True,
            empty="no misses",
        ),
        Panel(
            "Cancelled",
            "How many operations are interrupted, or never close their stream?",
            "A steady rate is a leak: some code opens streams and does not close them.",
            "ops",
            (Query(operations('outcome="cancelled"', by="operation"), "{{operation}}"),),
            width=6,
            stacked=True,
            empty="no cancelled operations",
        ),
    ),
)

LATENCY = Section(
    "Latency",
    (
        Panel(
            "Latency",
            "How long do answers take, from the call to the last byte? The dots are single operations.",
            "Look up the operation_id of a dot in the log: that line has the key, the bytes and the transaction.",
            "s",
            latency_queries(),
            width=12,
            colours=LATENCY_COLOURS,
        ),
        Panel(
            "p99 by operation",
            "Which operations are slow?",
            "Large values take longer: compare with the value sizes before you blame the store.",
            "s",
            (Query(quantile(0.99, OPERATION_DURATION, ANSWERED, by="operation"), "{{operation}}"),),
            width=12,
            logarithmic=True,
        ),
        Panel(
            "Latency heatmap",
            "Are all answers slow, or only some?",
            "A second band above the first is a slower path: a cold cache, a contended lock, a slow disk.",
            "s",
            (Query(rate(OPERATION_DURATION, ANSWERED, by="le", suffix="_bucket"), "{{le}}"),),
            kind="heatmap",
            width=16,
            height=9,
        ),
        Panel(
            "Slower than the target",
            "What share of the answers takes longer than the latency target?",
            "Above what the objective allows, the latency alerts will fire: see the SLO dashboard.",
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
            "How many bytes are transferred per second?",
            "A plateau is a limit of the disk, the network or a quota.",
            "Bps",
            (Query(rate(TRANSFERRED_BYTES, by="direction"), "{{direction}}"),),
        ),
        MEAN_VALUE_SIZE,
        Panel(
            "Value size percentiles",
            "How large are typical values, and the largest?",
            "A p99 far above p50 explains a high p99 latency.",
            "bytes",
            tuple(
                Query(quantile(share, VALUE_SIZE, by="direction"), f"{{{{direction}}}} {name}")
                for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
            ),
            logarithmic=True,
        ),
    ),
)
