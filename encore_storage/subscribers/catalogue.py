"""The catalogue of metrics, as data: metrics, dashboards, rules and the docs' table are all made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from encore_storage.errors import ERROR_TYPES as _ERROR_TYPES
from encore_storage.events import Action, Direction, Operation, Outcome, TransactionOutcome

OTHER = "other"
"""What a label of a closed set says for anything outside of the set."""

UNKNOWN = "unknown"
"""What the label of an open set says where an event does not tell."""

OVERFLOW = "_overflow"
"""What the label of an open set says past its cap."""

OPERATIONS: tuple[str, ...] = get_args(Operation)
OUTCOMES: tuple[str, ...] = get_args(Outcome)
DIRECTIONS: tuple[str, ...] = get_args(Direction)
TRANSACTION_OUTCOMES: tuple[str, ...] = get_args(TransactionOutcome)
ACTIONS: tuple[str, ...] = get_args(Action)
ERROR_TYPES: tuple[str, ...] = _ERROR_TYPES

OPEN_LABELS = ("store", "backend", "event", "listener", "queue", "reason")
"""Labels whose values are the program's, so they are capped; those of all others are closed sets."""

SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bucket edges of durations."""

SIZES = (*(64 * 4**power for power in range(13)), 5 * 1024**3)
"""Bucket edges of sizes in bytes: from 64 B by the factor of 4 to 1 GiB, and 5 GiB."""

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000)
"""Bucket edges of how many operations a transaction is made of."""

MetricType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as it is exposed; a histogram's samples add _bucket, _count and _sum to it.
        type: counter, gauge or histogram.
        labels: the names of its labels.
        help: what it tells, in one sentence.
        unit: its base unit, '' for things that are counted.
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
    "How long operations took, from the start of the call to the last byte; _count counts operations.",
    unit="seconds",
    buckets=SECONDS,
)
OPERATIONS_IN_PROGRESS = Metric(
    "encore_storage_operations_in_progress",
    "gauge",
    ("store", "operation"),
    "How many operations have started and not ended.",
)
OPERATION_OLDEST = Metric(
    "encore_storage_operation_oldest_in_progress_seconds",
    "gauge",
    ("store", "operation"),
    "How long ago the oldest operation in progress started; 0 where there is none.",
    unit="seconds",
)
OPERATION_ERRORS = Metric(
    "encore_storage_operation_errors_total",
    "counter",
    ("store", "operation", "error_type"),
    "Operations that ended with the outcome error, by what went wrong.",
)
TRANSFERRED_BYTES = Metric(
    "encore_storage_transferred_bytes_total",
    "counter",
    ("store", "operation", "direction"),
    "Bytes read from and written to stores; grows while they move.",
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
    "encore_storage_transactions_total",
    "counter",
    ("store", "outcome"),
    "Transactions that ended.",
)
TRANSACTION_DURATION = Metric(
    "encore_storage_transaction_duration_seconds",
    "histogram",
    ("store", "outcome"),
    "How long transactions took.",
    unit="seconds",
    buckets=SECONDS,
)
TRANSACTIONS_IN_PROGRESS = Metric(
    "encore_storage_transactions_in_progress",
    "gauge",
    ("store",),
    "How many transactions have started and not ended.",
)
TRANSACTION_OPERATIONS = Metric(
    "encore_storage_transaction_operations",
    "histogram",
    ("store", "outcome"),
    "How many operations took part in a transaction: how much a rollback threw away.",
    buckets=COUNTS,
)
KEY_CHANGES = Metric(
    "encore_storage_key_changes_total",
    "counter",
    ("store", "action"),
    "Keys that were set, updated or deleted, for good.",
)
LAST_SUCCESS = Metric(
    "encore_storage_last_success_timestamp_seconds",
    "gauge",
    ("store", "direction"),
    "When bytes were last read or written with success, in seconds since the epoch.",
    unit="seconds",
)
STORE_INFO = Metric(
    "encore_storage_store_info",
    "gauge",
    ("store", "backend"),
    "1 for each store that has told anything, with the kind of store that it is.",
)
LISTENER_ERRORS = Metric(
    "encore_events_listener_errors_total",
    "counter",
    ("event", "listener"),
    "Listeners that raised, by the class of the event and the function: the observer observed.",
)
DROPPED = Metric(
    "encore_events_dropped_total",
    "counter",
    ("queue", "reason"),
    "Events that were accepted and never delivered.",
)
LABEL_OVERFLOW = Metric(
    "encore_storage_label_overflow_total",
    "counter",
    ("label",),
    f"Events for which a label had too many values already and says {OVERFLOW}.",
)

CATALOGUE = (
    OPERATION_DURATION,
    OPERATIONS_IN_PROGRESS,
    OPERATION_OLDEST,
    OPERATION_ERRORS,
    TRANSFERRED_BYTES,
    VALUE_SIZE,
    TRANSACTIONS,
    TRANSACTION_DURATION,
    TRANSACTIONS_IN_PROGRESS,
    TRANSACTION_OPERATIONS,
    KEY_CHANGES,
    LAST_SUCCESS,
    STORE_INFO,
    LISTENER_ERRORS,
    DROPPED,
    LABEL_OVERFLOW,
)
"""Every metric that Encore exposes, in the order in which they are exposed."""
