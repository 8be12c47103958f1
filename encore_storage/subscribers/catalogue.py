"""The metrics that Encore exposes, as data. Dashboards, rules and the documentation are built from it, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from encore_storage.errors import ERROR_TYPES as _ERROR_TYPES
from encore_storage.events import Action, Direction, Operation, Outcome, TransactionOutcome
from encore_storage.processes import capping

OTHER = "other"  # for anything outside of a closed set
UNKNOWN = "unknown"  # the label store of an event without a store
OVERFLOW = capping.OVERFLOW
OPERATIONS: tuple[str, ...] = get_args(Operation)
OUTCOMES: tuple[str, ...] = get_args(Outcome)
DIRECTIONS: tuple[str, ...] = get_args(Direction)
TRANSACTION_OUTCOMES: tuple[str, ...] = get_args(TransactionOutcome)
ACTIONS: tuple[str, ...] = get_args(Action)
ERROR_TYPES: tuple[str, ...] = _ERROR_TYPES

OPEN_LABELS = ("store", "backend", "event", "listener", "queue", "reason")
"""Labels whose values come from the program and are capped. All other labels are closed sets."""

SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bucket edges of durations."""

SIZES = (*(64 * 4**power for power in range(13)), 5 * 1024**3)
"""Bucket edges of sizes in bytes: powers of 4 from 64 B to 1 GiB, and 5 GiB."""

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000)
"""Bucket edges of operations per transaction."""

MetricType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: the exposed name. The samples of a histogram add _bucket, _count and _sum to it.
        type: counter, gauge or histogram.
        labels: the names of its labels.
        help: a description, in one sentence.
        unit: its base unit, '' for a number of things.
        buckets: the upper edges of a histogram's buckets, without infinity.
    """

    name: str
    type: MetricType
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    buckets: tuple[float, ...] = ()


OPERATION_DURATION = Metric(
    "encore_storage_operation_duration_seconds",
    "histogram",
    ("store", "operation", "outcome"),
    "Duration of operations, from the start of the call to the last byte; _count counts operations.",
    unit="seconds",
    buckets=SECONDS,
)
OPERATIONS_IN_PROGRESS = Metric(
    "encore_storage_operations_in_progress",
    "gauge",
    ("store", "operation"),
    "Operations that have started and not ended.",
)
OPERATION_OLDEST = Metric(
    "encore_storage_operation_oldest_in_progress_seconds",
    "gauge",
    ("store", "operation"),
    "Age of the oldest operation in progress; 0 if there is none.",
    unit="seconds",
)
OPERATION_ERRORS = Metric(
    "encore_storage_operation_errors_total",
    "counter",
    ("store", "operation", "error_type"),
    "Operations that ended with the outcome error, by the type of the error.",
)
OPERATION_RETRIES = Metric(
    "encore_storage_operation_retries_total",
    "counter",
    ("store", "operation"),
    "Attempts beyond the first one of each operation, where the client reports attempts.",
)
FIRST_BYTE = Metric(
    "encore_storage_operation_first_byte_seconds",
    "histogram",
    ("store", "operation"),
    "Time from the start of operations to the first byte, where the client measures it.",
    unit="seconds",
    buckets=SECONDS,
)
OPERATION_ITEMS = Metric(
    "encore_storage_operation_items_total",
    "counter",
    ("store", "operation"),
    "Keys, rows or values that operations returned or changed, where the client counts them.",
)
TRANSFERRED_BYTES = Metric(
    "encore_storage_transferred_bytes_total",
    "counter",
    ("store", "operation", "direction"),
    "Bytes read from and written to stores; grows during a transfer.",
    unit="bytes",
)
FETCHED_BYTES = Metric(
    "encore_storage_fetched_bytes_total",
    "counter",
    ("store",),
    "Bytes that clients with a cache of their own fetched from the backend.",
    unit="bytes",
)
VALUE_SIZE = Metric(
    "encore_storage_value_size_bytes",
    "histogram",
    ("store", "direction"),
    "Sizes of the values that were read or written whole.",
    unit="bytes",
    buckets=SIZES,
)
TRANSACTIONS = Metric(
    "encore_storage_transactions_total", "counter", ("store", "outcome"), "Transactions that have ended."
)
TRANSACTION_DURATION = Metric(
    "encore_storage_transaction_duration_seconds",
    "histogram",
    ("store", "outcome"),
    "Duration of transactions.",
    unit="seconds",
    buckets=SECONDS,
)
TRANSACTIONS_IN_PROGRESS = Metric(
    "encore_storage_transactions_in_progress", "gauge", ("store",), "Transactions that have started and not ended."
)
TRANSACTION_OPERATIONS = Metric(
    "encore_storage_transaction_operations",
    "histogram",
    ("store", "outcome"),
    "Operations in a transaction; of a rollback, the operations that it undid.",
    buckets=COUNTS,
)
KEY_CHANGES = Metric(
    "encore_storage_key_changes_total",
    "counter",
    ("store", "action"),
    "Keys that were set, updated or deleted, once that was committed.",
)
LAST_SUCCESS = Metric(
    "encore_storage_last_success_timestamp_seconds",
    "gauge",
    ("store", "direction"),
    "Time of the last successful read or write of bytes, in seconds since the epoch.",
    unit="seconds",
)
STORE_INFO = Metric(
    "encore_storage_store_info",
    "gauge",
    ("store", "backend"),
    "1 for each store that has emitted an event, with its backend.",
)
LISTENER_ERRORS = Metric(
    "encore_events_listener_errors_total",
    "counter",
    ("event", "listener"),
    "Errors that listeners raised, by the class of the event and the listener.",
)
DROPPED = Metric(
    "encore_events_dropped_total", "counter", ("queue", "reason"), "Events that were accepted and then dropped."
)
LABEL_OVERFLOW = Metric(
    "encore_storage_label_overflow_total",
    "counter",
    ("label",),
    f"Events counted as {OVERFLOW}, because the label had too many values.",
)
PROCESSES = Metric(
    "encore_processes", "gauge", ("group",), "Living processes of the group whose metrics are added up here."
)

CATALOGUE = tuple(metric for metric in list(vars().values()) if isinstance(metric, Metric))
"""All metrics, in the order in which they are exposed."""
