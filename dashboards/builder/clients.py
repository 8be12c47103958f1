"""The section about what clients of storage services and databases report: hits, retries, amplification, items."""

from __future__ import annotations

from dashboards.builder.model import Panel, Query, Section
from dashboards.builder.promql import operations, quantile, rate, ratio, with_label
from encore_storage.subscribers.catalogue import (
    FETCHED_BYTES,
    FIRST_BYTE,
    OPERATION_ITEMS,
    OPERATION_RETRIES,
    STORE_INFO,
    TRANSFERRED_BYTES,
)

_HITS, _READS = (operations('operation="get"', f'outcome=~"{one}"', by="store") for one in ("ok", "ok|miss"))
_DELIVERED = rate(TRANSFERRED_BYTES, 'direction="read"', by="store")
_OF_INSTANCES = operations(by="job, instance, store")

HIT_RATIO = Panel(
    "Hit ratio",
    "What share of the keys that are read exists?",
    "If it falls, a cache was cleared or is too small, or its keys have changed.",
    "percentunit",
    (Query(ratio(_HITS, _READS), "{{store}}"),),
    empty="no reads",
)

RETRIES = Panel(
    "Retries",
    "How many attempts beyond the first do operations need per second?",
    "All operations: the backend throttles, or the network is bad. One operation: its timeout is too short.",
    "ops",
    (Query(rate(OPERATION_RETRIES, by="store, operation"), "{{store}} {{operation}}"),),
    stacked=True,
    empty="no retries reported",
)

READ_AMPLIFICATION = Panel(
    "Read amplification",
    "How many bytes are fetched for each byte that the program reads? Only stores that count fetched bytes.",
    "Far above 1: blocks of the client's cache are too large for small, scattered reads. Below 1: the cache helps.",
    "short",
    (Query(f"{rate(FETCHED_BYTES, by='store')} / ({_DELIVERED} > 0)", "{{store}}"),),
    empty="no fetched bytes counted",
)

FIRST_BYTE_LATENCY = Panel(
    "Time to the first byte, p99",
    "How long does the first byte take at most in 99 % of the operations?",
    "Long: the backend is slow or throttles. Short, with a high p99 latency: the transfer or the reader is slow.",
    "s",
    (Query(quantile(0.99, FIRST_BYTE, by="store, operation"), "{{store}} {{operation}}"),),
    logarithmic=True,
    empty="not measured",
)

ITEMS = Panel(
    "Items",
    "How many keys, rows or values are returned or changed per second?",
    "Many items with few operations: large listings or results. As many as operations: batches would save calls.",
    "ops",
    (Query(rate(OPERATION_ITEMS, by="store, operation"), "{{store}} {{operation}}"),),
    stacked=True,
    empty="no items counted",
)

CLIENTS = Section(
    "Hits, retries and items",
    (
        HIT_RATIO,
        RETRIES,
        READ_AMPLIFICATION,
        FIRST_BYTE_LATENCY,
        ITEMS,
        Panel(
            "Operations by backend",
            "Which backends carry the load? Stores under `_overflow` are left out.",
            "If one backend falls to zero, its client is disconnected, or its callers have stopped.",
            "ops",
            (Query(f"sum by (backend) ({with_label(_OF_INSTANCES, 'backend', STORE_INFO)})", "{{backend}}"),),
            stacked=True,
        ),
    ),
)
