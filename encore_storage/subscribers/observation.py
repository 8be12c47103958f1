"""What the events of one event manager add up to."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from encore_events.abstract import BaseEventManager
from encore_events.errors import NotConnectedError
from encore_events.events import EventsDroppedEvent, ListenerErrorEvent
from encore_events.forks import renew_in_child
from encore_events.listeners import qualified_name
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
from encore_storage.subscribers.base import Listeners, listen
from encore_storage.subscribers.catalogue import (
    ACTIONS,
    DIRECTIONS,
    ERROR_TYPES,
    OPERATIONS,
    OUTCOMES,
    OVERFLOW,
    TRANSACTION_OUTCOMES,
    UNKNOWN,
)
from encore_storage.subscribers.families import Families, closed
from encore_storage.subscribers.series import Exemplar

Clock = Callable[[], float]

EXEMPLAR_INTERVAL = 1.0
"""Seconds between two exemplars of one series."""

_WHOLE_VALUES = ("get", "set")
_LONGEST_ID = 100  # OpenMetrics allows an exemplar 128 characters, names included


class Observation:
    """Counts the events of one event manager into `families`, and knows what is in progress there.

    The series of a set of labels are looked up once, and then kept under what the events say.

    Args:
        event_manager: whose events.
        families: where to count; several observations may share them.
        clock: monotonic seconds, for the age of what is in progress.
        wall_clock: seconds since the epoch, for timestamps.

    Attributes:
        users: how many subscribers want it; theirs to count.
    """

    def __init__(self, event_manager: BaseEventManager, families: Families, *, clock: Clock, wall_clock: Clock) -> None:
        """Start with nothing in progress, not connected."""
        self.event_manager = event_manager
        self.users = 0
        self._families = families
        self._clock = clock
        self._wall_clock = wall_clock
        self._stores: dict[str, str] = {}
        self._operations: dict[tuple[str | None, ...], _Operation] = {}
        self._ends: dict[tuple[str | None, ...], _End] = {}
        self._transactions: dict[str, dict[str, float]] = {}
        renew_in_child(self, Observation._renew)

    def __repr__(self) -> str:
        """Whom it observes."""
        return f"<Observation of {self.event_manager!r}>"

    def connect(self) -> None:
        """Hear the events from now on; doing so twice changes nothing."""
        listen(self.event_manager, self._listeners())

    def disconnect(self) -> None:
        """Hear no more of them."""
        for cls, func in self._listeners().items():
            with contextlib.suppress(NotConnectedError):
                self.event_manager.disconnect(cls, func)

    def operations_in_progress(self, store: str, operation: str) -> list[float]:
        """When each operation in progress started, by the clock; for labels as they are exposed."""
        known = self._operations.get((store, operation))
        return [] if known is None else list(known.in_progress.values())

    def transactions_in_progress(self, store: str) -> list[float]:
        """When each transaction in progress started, by the clock."""
        return list(self._transactions.get(store, {}).values())

    def _renew(self) -> None:
        """Have nothing in progress in a forked child, where nobody goes on with it."""
        for operation in list(self._operations.values()):
            operation.in_progress.clear()
        for transactions in list(self._transactions.values()):
            transactions.clear()

    def _listeners(self) -> Listeners:
        return {
            StoreProgressStartEvent: self._operation_started,
            StoreProgressStepEvent: self._operation_moved,
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionStartEvent: self._transaction_started,
            StoreTransactionEndEvent: self._transaction_ended,
            StoreModificationEvent: self._key_changed,
            ListenerErrorEvent: self._listener_failed,
            EventsDroppedEvent: self._events_dropped,
        }

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        operation = self._operations.get((event.store, event.operation)) or self._meet_operation(event)
        operation.in_progress[event.operation_id] = self._clock()

    def _operation_moved(self, event: StoreProgressStepEvent) -> None:
        operation = self._operations.get((event.store, event.operation)) or self._meet_operation(event)
        if event.direction is not None:
            self._families.transferred.series(*operation.labels, closed(event.direction, DIRECTIONS)).inc(event.delta)

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        end = self._ends.get((event.store, event.operation, event.direction, event.outcome))
        if end is None:
            known = self._operations.get((event.store, event.operation))
            if known is not None:  # first, and without a call: an interrupt further down must not leave it in progress
                known.in_progress.pop(event.operation_id, None)
            end = self._meet_end(event)
        end.in_progress.pop(event.operation_id, None)
        end.count(event, self._wall_clock())
        if event.outcome == "error":
            store, operation = end.labels
            self._families.errors.series(store, operation, closed(event.error_type, ERROR_TYPES)).inc()

    def _transaction_started(self, event: StoreTransactionStartEvent) -> None:
        store = self._store(event)
        self._families.transactions_in_progress.series(store)
        for outcome in TRANSACTION_OUTCOMES:
            self._families.transactions.series(store, outcome)
        self._transactions.setdefault(store, {})[event.transaction_id] = self._clock()

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        known = self._transactions.get(self._stores.get(event.store or "", UNKNOWN))
        if known is not None:  # first, as above
            known.pop(event.transaction_id, None)
        labels = store, _ = self._store(event), closed(event.outcome, TRANSACTION_OUTCOMES)
        self._transactions.get(store, {}).pop(event.transaction_id, None)
        self._families.transactions.series(*labels).inc()
        self._families.transaction_durations.series(*labels).observe(event.duration)
        self._families.transaction_operations.series(*labels).observe(event.operations)

    def _key_changed(self, event: StoreModificationEvent) -> None:
        store = self._store(event)
        self._families.key_changes.series(store, closed(event.action, ACTIONS)).inc()

    def _listener_failed(self, event: ListenerErrorEvent) -> None:
        name = self._families.label("event", type(event.event).__name__)
        listener = self._families.label("listener", qualified_name(event.listener))
        self._families.listener_errors.series(name, listener).inc()

    def _events_dropped(self, event: EventsDroppedEvent) -> None:
        queue = self._families.label("queue", event.queue)
        reason = self._families.label("reason", event.reason)
        self._families.dropped.series(queue, reason).inc(event.count)

    def _store(self, event: StoreEvent) -> str:
        """The label of the event's store; the first event of a store makes it known."""
        name = event.store
        if name is None:
            return UNKNOWN
        if name in self._stores:
            return self._stores[name]
        label = self._families.label("store", name)
        if label != OVERFLOW:
            backend = getattr(event.source, "backend", type(event.source).__name__.lower())
            self._families.store_info.series(label, self._families.label("backend", backend)).value = 1
            self._stores[name] = label
        return label

    def _meet_operation(self, event: StoreProgressEvent) -> _Operation:
        """What is kept of the event's operation; what ratios and alerts need of it is at zero from now on."""
        families = self._families
        labels = self._store(event), closed(event.operation, OPERATIONS)
        operation = self._operations.setdefault(labels, _Operation(labels))
        if labels[0] != OVERFLOW:
            self._operations[event.store, event.operation] = operation
        families.in_progress.series(*labels)
        for outcome in ("ok", "error"):
            families.durations.series(*labels, outcome)
        if event.direction is not None:
            families.transferred.series(*labels, closed(event.direction, DIRECTIONS))
        return operation

    def _meet_end(self, event: StoreProgressEndEvent) -> _End:
        met = event.store, event.operation, event.direction, event.outcome
        operation = self._operations.get(met[:2]) or self._meet_operation(event)
        direction = None if event.direction is None else closed(event.direction, DIRECTIONS)
        outcome = closed(event.outcome, OUTCOMES)
        labels = *operation.labels, direction, outcome
        end = self._ends.setdefault(labels, _End(operation, direction, outcome, self._families))
        if operation.labels[0] != OVERFLOW:
            self._ends[met] = end
        return end


class _Operation:
    """One operation of one store, and when each that is in progress started, by its operation_id."""

    __slots__ = ("in_progress", "labels")

    def __init__(self, labels: tuple[str, str]) -> None:
        self.labels = labels
        self.in_progress: dict[str, float] = {}


class _End:
    """The series that count the ends of one operation in one direction with one outcome."""

    __slots__ = ("_durations", "_exemplar_due", "_last_success", "_sizes", "_transferred", "in_progress", "labels")

    def __init__(self, operation: _Operation, direction: str | None, outcome: str, families: Families) -> None:
        store, name = self.labels = operation.labels
        self.in_progress = operation.in_progress
        self._durations = families.durations.series(store, name, outcome)
        self._exemplar_due = -math.inf
        self._transferred = self._last_success = self._sizes = None
        if direction is None:
            return
        self._transferred = families.transferred.series(store, name, direction)
        if outcome == "ok":
            self._last_success = families.last_success.series(store, direction)
            self._sizes = families.sizes.series(store, direction) if name in _WHOLE_VALUES else None

    def count(self, event: StoreProgressEndEvent, now: float) -> None:
        self._durations.observe(event.duration)
        if now >= self._exemplar_due:
            self._exemplify(event, now)
        if self._transferred is None:
            return
        if event.delta:
            self._transferred.inc(event.delta)
        if self._last_success is not None:
            self._last_success.value = now
        if self._sizes is not None and event.bytes >= event.steps:
            self._sizes.observe(event.bytes)

    def _exemplify(self, event: StoreProgressEndEvent, now: float) -> None:
        operation_id = str(event.operation_id)
        if len(operation_id) <= _LONGEST_ID:
            self._exemplar_due = now + EXEMPLAR_INTERVAL
            self._durations.exemplify(Exemplar(operation_id, event.duration, now))
