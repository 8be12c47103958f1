"""The operations and transactions in flight, and those that ended or failed last."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from encore_events.ids import id_of
from encore_events.text import text_of
from encore_storage.codec.recorded import recorded_time
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.server.recent import KEPT, Item, RecentItems
from encore_storage.subscribers.base import Listeners
from encore_storage.subscribers.in_progress import InProgress
from encore_storage.subscribers.odd_values import hashable, name_of, number_of

FAILURES = frozenset({"error", "cancelled", "rolled_back", "commit_failed", "rollback_failed"})
"""The outcomes that count as failures."""

StoreEnd = StoreProgressEndEvent | StoreTransactionEndEvent

_IN_FLIGHT = ("operation_id", "store", "operation", "direction", "key", "transaction_id")
_OPERATION = (*_IN_FLIGHT[1:], "outcome", "bytes", "duration", "error_type", "error")
_TRANSACTION_IN_FLIGHT = ("transaction_id", "store", "notes")
_TRANSACTION = (*_TRANSACTION_IN_FLIGHT, "outcome", "duration", "operations", "held", "error_type", "error")


_Heard = list[Any]
"""The latest event of what is in flight; when it was first heard of, in monotonic seconds, and since the epoch."""


class _InFlight(NamedTuple):
    """An operation or transaction in flight.

    Attributes:
        event: its latest event.
        since: when it started, in monotonic seconds. The age does not change with the system's clock.
        started: when it started, in seconds since the epoch.
    """

    event: Any
    since: float
    started: float

    @classmethod
    def of(cls, heard: _Heard) -> _InFlight:
        """Return what is in flight since the time that its event has; a replayed event is new."""
        event, since, now = heard
        started = number_of(getattr(event, "timestamp", None)) or now
        age = 0.0 if recorded_time(event) is not None else max(now - started, 0.0)
        return cls(event, since - age, started)


class Activity:
    """The operations and transactions in flight, and the latest that ended or failed.

    The emitting threads update what is in flight, so it is current even if the feed lags behind.

    Args:
        data_of: returns the encoded data of an event.
        clock: seconds since the epoch.
        process: the id of this process.
        monotonic: monotonic seconds, for ages.
    """

    def __init__(
        self,
        data_of: Callable[[Any], Item],
        clock: Callable[[], float],
        process: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.process = process
        self.recent = RecentItems()
        self.failures = RecentItems()
        self._data_of = data_of
        self._clock = clock
        self._monotonic = monotonic
        self._ended: deque[object] = deque(maxlen=KEPT)  # ids
        self._operations = InProgress[_Heard]()
        self._transactions = InProgress[_Heard]()

    def __repr__(self) -> str:
        return f"<Activity: {len(self._operations)} operations, {len(self._transactions)} transactions in flight>"

    @property
    def listeners(self) -> Listeners:
        """The listeners that update what is in flight."""
        return {
            StoreProgressStartEvent: self._operation_started,
            StoreProgressStepEvent: self._operation_progressed,
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionStartEvent: self._transaction_started,
            StoreTransactionEndEvent: self._transaction_ended,
        }

    @property
    def unheard_listeners(self) -> Listeners:
        """The listeners that remove what has ended unheard."""
        return {StoreProgressEndEvent: self._operation_ended, StoreTransactionEndEvent: self._transaction_ended}

    def add_end(self, event: StoreEnd, time: float, data: Item) -> None:
        """Add an operation that ended, or a transaction that failed, with its encoded data."""
        is_operation = isinstance(event, StoreProgressEndEvent)
        is_failure = name_of(event.outcome) in FAILURES
        if not (is_operation or is_failure):
            return
        item = {"id": id_of(event), "time": time, "what": "operation" if is_operation else "transaction"}
        item["process"] = self.process
        item |= {name: data.get(name) for name in (_OPERATION if is_operation else _TRANSACTION)}
        if is_operation:
            self.recent.add(item)
        if is_failure:
            self.failures.add(item)

    def in_flight(self, stores: Collection[str], limit: int) -> Item:
        """Return what is in flight in these stores (by default, all), oldest first, at most `limit` of each kind."""
        now = self._monotonic()
        operations = _of(stores, self._operations)
        transactions = _of(stores, self._transactions)
        return {
            "in_flight": list(self._items(operations[:limit], now, _IN_FLIGHT)),
            "in_flight_total": len(operations),
            "transactions_in_flight": list(self._items(transactions[:limit], now, _TRANSACTION_IN_FLIGHT)),
        }

    def in_flight_counts(self) -> Counter[tuple[str, str]]:
        """Return the number of operations in flight by store and operation."""
        counts = Counter[tuple[str, str]]()
        for event, *_ in list(self._operations.values()):
            with contextlib.suppress(Exception):  # a program's own event
                counts[text_of(event.store), text_of(event.operation)] += 1
        return counts

    def _items(self, shown: list[_InFlight], now: float, names: tuple[str, ...]) -> Iterator[Item]:
        for each in shown:
            with contextlib.suppress(Exception):  # a program's own event: the feed has reported the error
                yield self._item(each, now, names)

    def _item(self, in_flight: _InFlight, now: float, names: tuple[str, ...]) -> Item:
        event = in_flight.event
        data = self._data_of(event)
        item = {name: data.get(name) for name in names}
        item["process"] = self.process
        item |= {"started": in_flight.started, "age": max(now - in_flight.since, 0.0)}
        if isinstance(event, StoreProgressEvent):
            item |= {"bytes": number_of(getattr(event, "step", 0)) or 0, "expected": number_of(event.steps)}
        return item

    # Stores pay for these lines, so they only keep the event and the time.

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        id_: object = event.operation_id
        if type(id_) is not str:
            id_ = hashable(id_)
        self._operations.start(id_, [event, self._monotonic(), self._clock()])

    def _operation_progressed(self, event: StoreProgressStepEvent) -> None:
        id_ = hashable(event.operation_id)
        known = self._operations.get(id_)
        if known is not None:
            known[0] = event
            return
        # Either the operation started before we listened, or it has ended and this step is late.
        self._operations.start(id_, [event, self._monotonic(), self._clock()])
        if id_ in self._ended.copy():  # checked last: another thread may end it meanwhile
            self._operations.pop(id_, None)

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        id_: object = event.operation_id
        if type(id_) is not str:
            id_ = hashable(id_)
        self._ended.append(id_)  # first: another thread may be handling a late step
        self._operations.pop(id_, None)

    def _transaction_started(self, event: StoreTransactionStartEvent) -> None:
        self._transactions.start(hashable(event.transaction_id), [event, self._monotonic(), self._clock()])

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        self._transactions.pop(hashable(event.transaction_id), None)


def _of(stores: Collection[str], in_flight: InProgress[_Heard]) -> list[_InFlight]:
    heard = list(in_flight.values())
    found = [_InFlight.of(each) for each in heard if not stores or _store_of(each[0]) in stores]
    return sorted(found, key=lambda each: each.since)


def _store_of(event: Any) -> str | None:
    with contextlib.suppress(Exception):  # a program's own event
        return name_of(event.store)
    return None
