"""The counter of one event manager's events, shared by all subscribers of a registry."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from encore_events.abstract import BaseEventManager
from encore_events.events import EventsDroppedEvent, ListenerErrorEvent
from encore_events.forks import renew_in_child
from encore_events.listeners import qualified_name
from encore_events.text import text_of
from encore_storage.events import (
    StoreEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.processes.cells import Block, Cells
from encore_storage.subscribers import blocks, catalogue
from encore_storage.subscribers.base import Listeners, connect_listeners
from encore_storage.subscribers.catalogue import COUNTS, SECONDS
from encore_storage.subscribers.ends import Ends
from encore_storage.subscribers.gauges import InProgressGauge
from encore_storage.subscribers.labels import OpenLabels, closed
from encore_storage.subscribers.odd_values import countable

Clock = Callable[[], float]


class EventCounter:
    """Counts the events of an event manager in cells.

    It looks up the blocks of a set of labels once, and then keeps them by the attributes of the events.

    Args:
        event_manager: the event manager. The counter keeps it alive.
        cells: the cells to count in. Several counters may share them.
        labels: the values of open labels, shared with the cells.
        number: a number that no other living counter of the cells has.
        clock: monotonic seconds, for ages.
        wall_clock: seconds since the epoch, for timestamps.

    Attributes:
        users: the number of subscribers that share the counter. They count themselves.
        connection: disconnects the listeners.
        is_connected: whether all listeners are connected.
    """

    def __init__(
        self,
        event_manager: BaseEventManager,
        cells: Cells,
        labels: OpenLabels,
        number: int,
        *,
        clock: Clock,
        wall_clock: Clock,
    ) -> None:
        self.users = 0
        self.connection = ExitStack()
        self.is_connected = False
        self._event_manager = event_manager
        self._cells = cells
        self._open_labels = labels
        self._number = number
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = cells.lock
        self._stores: dict[str, str] = {}
        self._gauges: dict[tuple[str | None, ...], InProgressGauge] = {}
        self._transaction_gauges: dict[str, InProgressGauge] = {}
        self._moved: dict[tuple[str | None, ...], Block] = {}
        self._ends: dict[tuple[str | None, ...], Ends] = {}
        self._transactions: dict[tuple[str | int | None, ...], Block] = {}
        renew_in_child(self, EventCounter._renew)
        weakref.finalize(self, _clear, self._gauges, self._transaction_gauges).atexit = False

    def connect(self) -> None:
        """Connect the listeners. Several threads may do so at once, since each connect replaces the last."""
        listeners: Listeners = {
            StoreProgressStartEvent: self._operation_started,
            StoreProgressStepEvent: self._operation_moved,
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionStartEvent: self._transaction_started,
            StoreTransactionEndEvent: self._transaction_ended,
            StoreModificationEvent: self._key_changed,
            ListenerErrorEvent: self._listener_failed,
            EventsDroppedEvent: self._events_dropped,
        }
        unheard: Listeners = {
            StoreProgressEndEvent: lambda event: self._end_anywhere(self._gauges.values(), event.operation_id),
            StoreTransactionEndEvent: lambda event: self._end_anywhere(
                self._transaction_gauges.values(), event.transaction_id
            ),
        }
        connect_listeners(self._event_manager, listeners, unheard, self.connection)
        self.is_connected = True

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        try:
            gauge = self._gauges[event.store, event.operation, event.direction]
        except Exception:  # noqa: BLE001 (not kept, or a program's own attributes, whose methods may raise)
            gauge = self._gauge(self._new_labels(event))
        gauge.start(event.operation_id, self._clock())

    def _operation_moved(self, event: StoreProgressStepEvent) -> None:
        if event.direction is None:
            return
        attributes = event.store, event.operation, event.direction
        try:
            block = self._moved[attributes]
        except Exception:  # noqa: BLE001 (not kept, or a program's own attributes, whose methods may raise)
            block = self._cells.block(blocks.moved(*self._new_labels(event)))
        delta = countable(event.delta)
        with self._lock:
            block.add(delta)

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        try:
            attributes = event.store, event.operation, event.direction, event.outcome
            try:
                ends = self._ends[attributes]
            except Exception:  # noqa: BLE001 (not kept, or a program's own attributes, whose methods may raise)
                ends = self._new_ends(event)
            now = self._wall_clock()
            if ends.is_plain and "attempts" not in event.__dict__:  # an event with any measure has it; most have none
                was_in_progress = ends.count(event, now)
            else:
                was_in_progress = ends.count_fully(event, now)
        except BaseException:
            self._end_anywhere(self._gauges.values(), event.operation_id)
            raise
        if not was_in_progress:  # or its start had other labels
            self._end_anywhere(self._gauges.values(), event.operation_id)

    def _transaction_started(self, event: StoreTransactionStartEvent) -> None:
        store = self._store(event)
        gauge = self._transaction_gauges.get(store)
        if gauge is None:
            block = self._cells.block(blocks.transaction_in_progress(store, self._number))
            gauge = self._transaction_gauges.setdefault(store, InProgressGauge(self._cells, block))
            gauge.fill()
        gauge.start(event.transaction_id, self._clock())

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        gauges = self._transaction_gauges.values()
        try:
            self._end_anywhere(gauges, event.transaction_id)
            duration, operations = countable(event.duration), countable(event.operations)
            buckets = bisect_left(SECONDS, duration), bisect_left(COUNTS, operations)
            try:
                block = self._transactions[event.store, event.outcome, *buckets]
            except Exception:  # noqa: BLE001 (not kept, or a program's own attributes, whose methods may raise)
                block = self._new_transaction(event, *buckets)
            with self._lock:
                block.add(1, duration, operations)
        except BaseException:
            self._end_anywhere(gauges, event.transaction_id)
            raise

    def _key_changed(self, event: StoreModificationEvent) -> None:
        self._cells.add(blocks.key_change(self._store(event), closed(event.action, catalogue.ACTIONS)), 1)

    def _listener_failed(self, event: ListenerErrorEvent) -> None:
        name = self._open_labels.label("event", type(event.event).__name__)
        listener = self._open_labels.label("listener", qualified_name(event.listener))
        self._cells.add(blocks.listener_error(name, listener), 1)

    def _events_dropped(self, event: EventsDroppedEvent) -> None:
        queue = self._open_labels.label("queue", event.queue)
        reason = self._open_labels.label("reason", event.reason)
        self._cells.add(blocks.dropped(queue, reason), countable(event.count))

    def _end_anywhere(self, gauges: Iterable[InProgressGauge], id: object) -> None:  # noqa: A002 (the name that events use)
        """End the item in the gauge that has it, if any."""
        for gauge in list(gauges):
            with self._lock:
                if gauge.end(id):
                    return

    def _store(self, event: StoreEvent) -> str:
        """Return the label of the event's store, and expose `store_info` with its first event."""
        if event.store is None:
            return catalogue.UNKNOWN
        name = text_of(event.store)
        if name in self._stores:
            return self._stores[name]
        label = self._open_labels.label("store", name)
        if label != catalogue.OVERFLOW:
            backend = getattr(event.source, "backend", type(event.source).__name__.lower())
            self._cells.set(blocks.store(label, self._open_labels.label("backend", backend)), 1)
            self._stores[name] = label
        return label

    def _new_labels(self, event: StoreProgressEvent) -> tuple[str, str, str]:
        """Return the labels of the event's operation, and make the gauge that exposes its series at zero.

        Only attributes that are their labels are kept: there is no end of other ones.
        """
        direction = "" if event.direction is None else closed(event.direction, catalogue.DIRECTIONS)
        labels = self._store(event), closed(event.operation, catalogue.OPERATIONS), direction
        gauge = self._gauge(labels)
        if _are_labels((event.store, event.operation, event.direction), labels):
            attributes = event.store, event.operation, event.direction
            self._gauges[attributes] = gauge
            if direction:
                self._moved[attributes] = self._cells.block(blocks.moved(*labels))
        return labels

    def _gauge(self, labels: tuple[str, str, str]) -> InProgressGauge:
        gauge = self._gauges.get(labels)
        if gauge is None:
            block = self._cells.block(blocks.in_progress(*labels, self._number))
            gauge = self._gauges.setdefault(labels, InProgressGauge(self._cells, block))
            gauge.fill()
        return gauge

    def _new_ends(self, event: StoreProgressEndEvent) -> Ends:
        labels = *self._new_labels(event), closed(event.outcome, catalogue.OUTCOMES)
        ends = self._ends.get(labels)
        if ends is None:
            made = Ends(self._cells, self._gauge(labels[:3]), *labels)
            ends = self._ends.setdefault(labels, made)
        attributes = event.store, event.operation, event.direction, event.outcome
        if _are_labels(attributes, labels):
            self._ends[attributes] = ends
        return ends

    def _new_transaction(self, event: StoreTransactionEndEvent, duration: int, operations: int) -> Block:
        labels = self._store(event), closed(event.outcome, catalogue.TRANSACTION_OUTCOMES)
        block = self._cells.block(blocks.transaction(*labels, duration, operations))
        if _are_labels((event.store, event.outcome), labels):
            self._transactions[event.store, event.outcome, duration, operations] = block
        return block

    def _renew(self) -> object:
        """Drop everything in a forked child, as the cells do."""
        kept = self._stores, self._gauges, self._transaction_gauges, self._moved, self._ends, self._transactions
        inherited = [each.copy() for each in kept]
        for each in kept:
            each.clear()
        self._lock = self._cells.lock  # which has been renewed: cells register before their counters
        return inherited


def _are_labels(attributes: tuple[object, ...], labels: tuple[str, ...]) -> bool:
    """Return whether the attributes are their labels, or None. Those of the store '_overflow' are not."""
    return labels[0] != catalogue.OVERFLOW and all(
        one is None or (type(one) is str and one == label) for one, label in zip(attributes, labels, strict=True)
    )


def _clear(*gauges: Mapping[Any, InProgressGauge]) -> None:
    """Remove what was in progress in an event manager that has been collected."""
    for gauge in (gauge for each in gauges for gauge in each.values()):
        gauge.clear()
