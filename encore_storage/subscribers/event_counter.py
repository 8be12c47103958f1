"""The counter of one event manager's events, shared by all subscribers of a registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack

from encore_events.abstract import BaseEventManager
from encore_events.events import EventsDroppedEvent, ListenerErrorEvent
from encore_events.listeners import qualified_name
from encore_storage.events import (
    StoreEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from encore_storage.subscribers import catalogue
from encore_storage.subscribers.base import Listeners, connect_listeners
from encore_storage.subscribers.families import Families, closed
from encore_storage.subscribers.in_progress import InProgress
from encore_storage.subscribers.series import Exemplar

Clock = Callable[[], float]
Started = tuple[tuple[str, ...], float]

EXEMPLAR_INTERVAL = 1.0  # seconds between two exemplars of a series
_WHOLE_VALUES = ("get", "set")
_LONGEST_ID = 100  # OpenMetrics allows an exemplar 128 characters, names included


class EventCounter:
    """Counts the events of an event manager into `families`, and tracks what is in progress.

    It looks up the series of a set of labels once, and then keeps them by the attributes of the events.

    Args:
        event_manager: the event manager. The counter keeps it alive.
        families: the series to count in. Several counters may share them.
        clock: monotonic seconds, for ages.
        wall_clock: seconds since the epoch, for timestamps.

    Attributes:
        users: the number of subscribers that share the counter. They count themselves.
        connection: disconnects the listeners.
        is_connected: whether all listeners are connected.
        operations: the labels and the start, by `clock`, of each operation in progress.
        transactions: the same for transactions.
    """

    def __init__(self, event_manager: BaseEventManager, families: Families, *, clock: Clock, wall_clock: Clock) -> None:
        self.users = 0
        self.connection = ExitStack()
        self.is_connected = False
        self.operations = InProgress[Started]()
        self.transactions = InProgress[Started]()
        self._event_manager = event_manager
        self._families = families
        self._clock = clock
        self._wall_clock = wall_clock
        self._stores: dict[str, str] = {}
        self._labels: dict[tuple[str | None, ...], tuple[str, str]] = {}
        self._transaction_labels: dict[str | None, tuple[str]] = {}
        self._ends: dict[tuple[str | None, ...], _EndSeries] = {}

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
        connect_listeners(self._event_manager, listeners, self.connection)
        self.is_connected = True

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        labels = self._labels.get((event.store, event.operation)) or self._new_labels(event)
        self.operations.start(event.operation_id, (labels, self._clock()))

    def _operation_moved(self, event: StoreProgressStepEvent) -> None:
        labels = self._labels.get((event.store, event.operation)) or self._new_labels(event)
        if event.direction is not None:
            self._families.transferred.series(*labels, closed(event.direction, catalogue.DIRECTIONS)).inc(event.delta)

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        self.operations.pop(event.operation_id, None)  # first, so that no error or interrupt leaves it in progress
        end = self._ends.get((event.store, event.operation, event.direction, event.outcome)) or self._new_end(event)
        now = self._wall_clock()
        end.durations.observe(event.duration)
        if now >= end.exemplar_due:
            end.exemplify(event, now)
        if end.transferred is not None and event.delta:
            end.transferred.inc(event.delta)
        if end.last_success is not None:
            end.last_success.value = now
        if end.sizes is not None and event.bytes >= event.steps:
            end.sizes.observe(event.bytes)
        if event.outcome == "error":
            store, operation = end.labels
            self._families.errors.series(store, operation, closed(event.error_type, catalogue.ERROR_TYPES)).inc()
        if "attempts" in event.__dict__:  # an event with any measure has it; most have none, and pay this test only
            self._count_measures(event, end.labels)

    def _count_measures(self, event: StoreProgressEndEvent, labels: tuple[str, str]) -> None:
        """Count what few operations measure; their retries exist at zero."""
        families = self._families
        retries = families.retries.series(*labels)
        if event.attempts > 1:
            retries.inc(event.attempts - 1)
        if event.items is not None:
            families.operation_items.series(*labels).inc(event.items)
        if event.first_byte is not None:
            families.first_bytes.series(*labels).observe(event.first_byte)
        if event.fetched is not None:
            families.fetched.series(labels[0]).inc(event.fetched)

    def _transaction_started(self, event: StoreTransactionStartEvent) -> None:
        labels = self._transaction_labels.get(event.store) or self._new_transaction_labels(event)
        self.transactions.start(event.transaction_id, (labels, self._clock()))

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        self.transactions.pop(event.transaction_id, None)  # first, as above
        families = self._families
        (store,) = self._transaction_labels.get(event.store) or self._new_transaction_labels(event)
        labels = store, closed(event.outcome, catalogue.TRANSACTION_OUTCOMES)
        families.transactions.series(*labels).inc()
        families.transaction_durations.series(*labels).observe(event.duration)
        families.transaction_operations.series(*labels).observe(event.operations)

    def _key_changed(self, event: StoreModificationEvent) -> None:
        store = self._store(event)
        self._families.key_changes.series(store, closed(event.action, catalogue.ACTIONS)).inc()

    def _listener_failed(self, event: ListenerErrorEvent) -> None:
        name = self._families.label("event", type(event.event).__name__)
        listener = self._families.label("listener", qualified_name(event.listener))
        self._families.listener_errors.series(name, listener).inc()

    def _events_dropped(self, event: EventsDroppedEvent) -> None:
        queue = self._families.label("queue", event.queue)
        reason = self._families.label("reason", event.reason)
        self._families.dropped.series(queue, reason).inc(event.count)

    def _store(self, event: StoreEvent) -> str:
        """Return the label of the event's store, and expose `store_info` with its first event."""
        name = event.store
        if name is None:
            return catalogue.UNKNOWN
        if name in self._stores:
            return self._stores[name]
        label = self._families.label("store", name)
        if label != catalogue.OVERFLOW:
            backend = getattr(event.source, "backend", type(event.source).__name__.lower())
            self._families.store_info.series(label, self._families.label("backend", backend)).value = 1
            self._stores[name] = label
        return label

    def _new_labels(self, event: StoreProgressEvent) -> tuple[str, str]:
        """Return the labels of the event's operation, and make the series that ratios and alerts need at zero."""
        families = self._families
        labels = self._store(event), closed(event.operation, catalogue.OPERATIONS)
        if labels[0] != catalogue.OVERFLOW:
            self._labels[event.store, event.operation] = labels
        families.in_progress.series(*labels)
        for outcome in ("ok", "error"):
            families.durations.series(*labels, outcome)
        if event.direction is not None:
            families.transferred.series(*labels, closed(event.direction, catalogue.DIRECTIONS))
        return labels

    def _new_transaction_labels(self, event: StoreTransactionEvent) -> tuple[str]:
        """Return the labels of the event's transaction, and make the series that ratios and alerts need at zero."""
        store = self._store(event)
        if store != catalogue.OVERFLOW:
            self._transaction_labels[event.store] = (store,)
        self._families.transactions_in_progress.series(store)
        for outcome in catalogue.TRANSACTION_OUTCOMES:
            self._families.transactions.series(store, outcome)
        return (store,)

    def _new_end(self, event: StoreProgressEndEvent) -> _EndSeries:
        attributes = event.store, event.operation, event.direction, event.outcome
        labels = self._labels.get(attributes[:2]) or self._new_labels(event)
        direction = None if event.direction is None else closed(event.direction, catalogue.DIRECTIONS)
        outcome = closed(event.outcome, catalogue.OUTCOMES)
        key = *labels, direction, outcome
        end = self._ends.setdefault(key, _EndSeries(labels, direction, outcome, self._families))
        if labels[0] != catalogue.OVERFLOW:
            self._ends[attributes] = end
        return end


class _EndSeries:
    """The series that count the ends of an operation with one store, direction and outcome; None where none does."""

    __slots__ = ("durations", "exemplar_due", "labels", "last_success", "sizes", "transferred")

    def __init__(self, labels: tuple[str, str], direction: str | None, outcome: str, families: Families) -> None:
        store, name = self.labels = labels
        self.durations = families.durations.series(store, name, outcome)
        self.exemplar_due = -math.inf
        self.transferred = self.last_success = self.sizes = None
        if direction is None:
            return
        self.transferred = families.transferred.series(store, name, direction)
        if outcome == "ok":
            self.last_success = families.last_success.series(store, direction)
            self.sizes = families.sizes.series(store, direction) if name in _WHOLE_VALUES else None

    def exemplify(self, event: StoreProgressEndEvent, now: float) -> None:
        operation_id = str(event.operation_id)
        if len(operation_id) <= _LONGEST_ID:
            self.exemplar_due = now + EXEMPLAR_INTERVAL
            self.durations.exemplify(Exemplar(operation_id, event.duration, now))
