"""What goes on at this moment, and what ended or failed last."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from encore_events.ids import id_of
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.subscribers.base import Listeners
from encore_storage.subscribers.in_progress import InProgress

KEPT = 100
"""How many of the latest operations, and of the latest failures, are remembered."""

FAILURES = frozenset({"error", "cancelled", "rolled_back", "commit_failed", "rollback_failed"})
"""The outcomes of operations and transactions that are failures."""

Told = dict[str, Any]
StoreEnd = StoreProgressEndEvent | StoreTransactionEndEvent

_IN_FLIGHT = ("operation_id", "store", "operation", "direction", "key", "transaction_id")
_OPERATION = (*_IN_FLIGHT[1:], "outcome", "bytes", "duration", "error_type", "error")
_TRANSACTION_IN_FLIGHT = ("transaction_id", "store", "notes")
_TRANSACTION = (*_TRANSACTION_IN_FLIGHT, "outcome", "duration", "operations", "held", "error_type", "error")


@dataclass(slots=True)
class _InFlight:
    """The last event of something that is under way, and since when it is, in seconds since the epoch."""

    event: Any
    since: float


class RecentItems:
    """The latest of what was told, newest last. One thread adds, others read, and none waits."""

    def __init__(self, kept: int = KEPT) -> None:
        """Start with nothing."""
        self.total = 0
        self._items: deque[tuple[int, Told]] = deque(maxlen=kept)

    def add(self, told: Told) -> None:
        """Remember one more."""
        self._items.append((self.total + 1, told))
        self.total += 1

    def since(self, seen: int, stores: Collection[str], limit: int) -> tuple[list[Told], int]:
        """Those that came after the first `seen`, newest first, at most `limit`; and how many more there were.

        What is not remembered any more counts among the latter, whatever its store.
        """
        items = self._items.copy()
        forgotten = max((items[0][0] if items else 1) - 1 - seen, 0)
        new = [told for number, told in reversed(items) if number > seen and (not stores or told["store"] in stores)]
        return new[:limit], len(new[limit:]) + forgotten


class Activity:
    """What is in flight, and what ended last.

    The emitting threads themselves keep the former up to date, whether the feed keeps up with them or not.

    Args:
        data_of: what may be told of an event, as the codec encodes it.
        clock: seconds since the epoch.
    """

    def __init__(self, data_of: Callable[[Any], Told], clock: Callable[[], float]) -> None:
        """Start with nothing."""
        self.recent = RecentItems()
        self.failures = RecentItems()
        self._data_of = data_of
        self._clock = clock
        self._ended: deque[object] = deque(maxlen=KEPT)  # ids
        self._operations = InProgress[_InFlight]()
        self._transactions = InProgress[_InFlight]()

    def __repr__(self) -> str:
        """How much is in flight."""
        return f"<Activity: {len(self._operations)} operations, {len(self._transactions)} transactions in flight>"

    @property
    def listeners(self) -> Listeners:
        """The listeners that keep what is in flight up to date, by their event classes."""
        return {
            StoreProgressStartEvent: self._operation_started,
            StoreProgressStepEvent: self._operation_moved,
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionStartEvent: self._transaction_started,
            StoreTransactionEndEvent: self._transaction_ended,
        }

    def ended(self, event: StoreEnd, time: float, data: Told) -> None:
        """Remember what has ended: an operation, or a transaction that failed. `data` is what may be told of it."""
        is_operation = isinstance(event, StoreProgressEndEvent)
        is_failure = event.outcome in FAILURES
        if not (is_operation or is_failure):
            return
        told = {"id": id_of(event), "time": time, "what": "operation" if is_operation else "transaction"}
        told |= {name: data.get(name) for name in (_OPERATION if is_operation else _TRANSACTION)}
        if is_operation:
            self.recent.add(told)
        if is_failure:
            self.failures.add(told)

    def in_flight(self, stores: Collection[str], limit: int) -> Told:
        """What is under way in these stores (without any, in all), the oldest first, as it is told."""
        now = self._clock()
        operations = _of(stores, self._operations)
        transactions = _of(stores, self._transactions)
        return {
            "in_flight": list(self._each_told(operations[:limit], now, _IN_FLIGHT)),
            "in_flight_total": len(operations),
            "transactions_in_flight": list(self._each_told(transactions[:limit], now, _TRANSACTION_IN_FLIGHT)),
        }

    def _each_told(self, shown: list[_InFlight], now: float, names: tuple[str, ...]) -> Iterator[Told]:
        for one in shown:
            with contextlib.suppress(Exception):  # a program's own events: the feed has reported this one
                yield self._told(one, now, names)

    def _told(self, one: _InFlight, now: float, names: tuple[str, ...]) -> Told:
        event, data = one.event, self._data_of(one.event)
        told = {name: data.get(name) for name in names}
        told |= {"started": getattr(event, "timestamp", one.since), "age": max(now - one.since, 0.0)}
        if isinstance(event, StoreProgressEvent):
            told |= {"bytes": _count(getattr(event, "step", 0)) or 0, "expected": _count(event.steps)}
        return told

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        self._operations.start(event.operation_id, _InFlight(event, self._since(event)))

    def _operation_moved(self, event: StoreProgressStepEvent) -> None:
        known = self._operations.get(event.operation_id)
        if known is not None:
            known.event = event
            return
        self._operations.start(event.operation_id, _InFlight(event, self._since(event)))  # its start was missed
        if event.operation_id in self._ended.copy():  # or it has ended, and this comes late
            self._operations.pop(event.operation_id, None)

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        self._ended.append(event.operation_id)  # first, for a step that another thread is noting
        self._operations.pop(event.operation_id, None)

    def _transaction_started(self, event: StoreTransactionStartEvent) -> None:
        self._transactions.start(event.transaction_id, _InFlight(event, self._since(event)))

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        self._transactions.pop(event.transaction_id, None)

    def _since(self, event: Any) -> float:
        """Since when it is under way: of what is replayed, since it was emitted again."""
        began = None if hasattr(event, "recorded_at") else getattr(event, "timestamp", None)
        return self._clock() if began is None else float(began)


def _count(told: object) -> float | None:
    """A number of bytes; None where it isn't known, or is none that a program's own progress could be measured by."""
    return told if isinstance(told, int | float) and 0 <= told < math.inf else None


def _of(stores: Collection[str], in_flight: InProgress[_InFlight]) -> list[_InFlight]:
    found = [one for one in list(in_flight.values()) if not stores or _store_of(one.event) in stores]
    return sorted(found, key=lambda one: one.since)


def _store_of(event: Any) -> object:
    with contextlib.suppress(Exception):  # a program's own events
        return event.store
    return None
