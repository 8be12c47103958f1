"""Totals: operations, bytes and latency by store and operation, commits and rollbacks."""

from __future__ import annotations

import math
import threading
from array import array
from collections import Counter
from dataclasses import dataclass, field

from encore_events.events import ListenerErrorEvent
from encore_events.forks import renew_in_child
from encore_events.text import text_of
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.subscribers.base import Listeners, Subscriber
from encore_storage.subscribers.catalogue import OPERATIONS, OUTCOMES, OVERFLOW, TRANSACTION_OUTCOMES
from encore_storage.subscribers.labels import MAX_VALUES, closed
from encore_storage.subscribers.odd_values import countable


@dataclass(slots=True)
class OperationSummary:
    """The totals of one operation of one store.

    Attributes:
        store: the name of the store.
        operation: the name of the operation.
        outcomes: the number of operations by outcome.
        bytes: the number of bytes moved.
        moving: the total duration, in seconds, of the operations that moved bytes.
    """

    store: str
    operation: str
    outcomes: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    moving: float = 0.0
    _durations: array[float] = field(default_factory=lambda: array("d"), repr=False)

    @property
    def count(self) -> int:
        """The number of operations."""
        return len(self._durations)

    def quantile(self, share: float) -> float:
        """Return the duration in seconds that `share` of the operations did not exceed (nearest rank)."""
        ordered = sorted(self._durations)
        return ordered[max(math.ceil(share * len(ordered)), 1) - 1]

    def add(self, event: StoreProgressEndEvent) -> None:
        """Count one operation."""
        outcome = closed(event.outcome, OUTCOMES)
        total, duration = self.bytes + int(countable(event.bytes)), float(countable(event.duration))
        moving = self.moving + (duration if countable(event.bytes) else 0.0)
        # From here on nothing can raise, so no event is counted partially.
        self.outcomes[outcome] += 1
        self.bytes = total
        self.moving = moving
        self._durations.append(duration)


class SummarySubscriber(Subscriber):
    """Totals of what stores do while it is connected.

    Attributes:
        transactions: the number of transactions by outcome.
        listener_errors: the number of failures of listeners.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transactions: Counter[str] = Counter()
        self.listener_errors = 0
        self._operations: dict[tuple[str, str], OperationSummary] = {}
        self._stores = set[str]()
        self._renew()
        renew_in_child(self, SummarySubscriber._renew)

    @property
    def operations(self) -> list[OperationSummary]:
        """The totals of each operation, sorted by store and operation."""
        return [self._operations[key] for key in sorted(self._operations)]

    @property
    def errors(self) -> int:
        """The number of operations that ended with an error."""
        return sum(row.outcomes["error"] for row in self.operations)

    def _listeners(self) -> Listeners:
        return {
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionEndEvent: self._transaction_ended,
            ListenerErrorEvent: self._listener_failed,
        }

    def _renew(self) -> None:
        self._lock = threading.RLock()  # reentrant: a finalizer may emit while this thread holds it

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        store = text_of(event.store)
        with self._lock:
            if store not in self._stores and len(self._stores) >= MAX_VALUES:
                store = OVERFLOW
            self._stores.add(store)
            key = store, closed(event.operation, OPERATIONS)
            row = self._operations.get(key) or OperationSummary(*key)
            row.add(event)
            self._operations[key] = row

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        with self._lock:
            self.transactions[closed(event.outcome, TRANSACTION_OUTCOMES)] += 1

    def _listener_failed(self, _event: ListenerErrorEvent) -> None:
        with self._lock:
            self.listener_errors += 1
