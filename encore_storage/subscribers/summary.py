"""What happened in all: counts, bytes and latency by operation, commits and rollbacks."""

from __future__ import annotations

import math
import threading
from array import array
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from encore_events import FIRST, BaseEventManager, ListenerErrorEvent, Subscription
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent


@dataclass(slots=True)
class OperationSummary:
    """All operations of one name with one store.

    Attributes:
        store: the name of the store.
        operation: the name of the operation.
        outcomes: how many ended with each outcome.
        bytes: how many bytes they moved.
    """

    store: str
    operation: str
    outcomes: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    _durations: array[float] = field(default_factory=lambda: array("d"), repr=False)

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self._durations)

    def quantile(self, share: float) -> float:
        """The duration in seconds that `share` of the operations did not exceed (nearest rank)."""
        ordered = sorted(self._durations)
        return ordered[max(math.ceil(share * len(ordered)), 1) - 1]

    def add(self, event: StoreProgressEndEvent) -> None:
        """Count one operation."""
        self.outcomes[event.outcome] += 1
        self.bytes += event.bytes
        self._durations.append(event.duration)


class SummarySubscriber:
    """Sums up what stores did from `connect` to `disconnect`; a context manager.

    Attributes:
        transactions: how many transactions ended with each outcome.
        listener_errors: how many times a listener failed.
    """

    def __init__(self) -> None:
        """Make a summary of nothing."""
        self.transactions: Counter[str] = Counter()
        self.listener_errors = 0
        self._operations: dict[tuple[str, str], OperationSummary] = {}
        self._subscriptions: list[Subscription] = []
        self._lock = threading.RLock()  # re-entered when a collection inside tells of a stream left unclosed

    def __repr__(self) -> str:
        """How much was summed up."""
        return f"<SummarySubscriber: {sum(row.count for row in self.operations)} operations>"

    @property
    def operations(self) -> list[OperationSummary]:
        """A row for each operation of each store, by name."""
        return [self._operations[key] for key in sorted(self._operations)]

    @property
    def errors(self) -> int:
        """How many operations ended with an error."""
        return sum(row.outcomes["error"] for row in self.operations)

    def connect(self, event_manager: BaseEventManager) -> Self:
        """Sum up what is emitted by `event_manager` from now on."""
        self._subscriptions += [
            event_manager.connect(StoreProgressEndEvent, self._on_end, priority=FIRST, weak=False),
            event_manager.connect(StoreTransactionEndEvent, self._on_transaction_end, priority=FIRST, weak=False),
            event_manager.connect(ListenerErrorEvent, self._on_listener_error, priority=FIRST, weak=False),
        ]
        return self

    def disconnect(self) -> None:
        """Sum up no more; what was summed up stays."""
        while self._subscriptions:
            self._subscriptions.pop().disconnect()

    def __enter__(self) -> Self:
        """Give the subscriber."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()

    def _on_end(self, event: StoreProgressEndEvent) -> None:
        key = (str(event.store), str(event.operation))
        with self._lock:
            self._operations.setdefault(key, OperationSummary(*key)).add(event)

    def _on_transaction_end(self, event: StoreTransactionEndEvent) -> None:
        with self._lock:
            self.transactions[event.outcome] += 1

    def _on_listener_error(self, _event: ListenerErrorEvent) -> None:
        with self._lock:
            self.listener_errors += 1
