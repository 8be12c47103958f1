"""A subscriber that encodes and counts events once for all clients of the server."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.ids import id_of, new_id
from encore_storage.codec import EventCodec
from encore_storage.events import StoreEvent, StoreProgressEndEvent, StoreProgressStepEvent, StoreTransactionEndEvent
from encore_storage.redaction import Redaction, checked_keys
from encore_storage.server.activity import Activity
from encore_storage.server.history import History
from encore_storage.server.operation_table import OperationTable
from encore_storage.server.ring import BufferedEvent, Ring
from encore_storage.subscribers.base import Listeners
from encore_storage.subscribers.sink import Sink

logger = logging.getLogger("encore_storage")

CAPACITY = 10_000  # the number of events that are kept
ROWS = 100  # the maximum number of rows of the table of operations that are sent to a client
BATCH_SECONDS = 0.05  # between batches of events to encode
HIDDEN = "(hidden)"  # replaces a key whose redaction failed


class EventFeed(Sink):
    """The latest events as CloudEvents, ten minutes of counts, and what is in flight.

    Emitting threads only put events into a stream. The feed encodes and counts them in a thread of its own, which
    runs from `connect` to `disconnect`. Events that it drops are counted as missed.

    Args:
        capacity: how many of the latest events are kept.
        keys: True to encode keys as they are, False to leave them out, or a function that returns a replacement.
        clock: seconds since the epoch.

    Raises:
        TypeError: keys is not a bool or a function.
        ValueError: the capacity is not an int of at least 1.

    Attributes:
        run: the prefix of positions, unique for each run of the program.
        ring: the latest events.
        history: the counts by second.
        operations: the counts of the last minute by store and operation.
        activity: what is in flight, and what ended last.
        missed: the number of dropped events.
        started: when the feed was made, in seconds since the epoch.
    """

    def __init__(self, *, capacity: int = CAPACITY, keys: bool | Redaction = True, clock: Any = time.time) -> None:
        super().__init__("feed", BATCH_SECONDS)
        if type(capacity) is not int or capacity < 1:
            raise ValueError(f"capacity must be an int of at least 1, not {capacity!r}")
        self.run = new_id()[:8]
        self.ring = Ring(capacity)
        self.history = History()
        self.codec = EventCodec(keys=_failsafe(checked_keys(keys)))
        self.activity = Activity(self.codec.data_of, clock)
        self.missed = 0
        self.clock = clock
        self.started: float = clock()
        self.operations = OperationTable(self.started)

    def position(self, number: int) -> str:
        """Return the id from which a client resumes after the event with that number."""
        return f"{self.run}-{number}"

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """Return all counts since the start, of these stores or (by default) all."""
        return {**self.history.totals(stores), "missed": self.missed}

    def state(self, stores: Collection[str], in_flight: int) -> dict[str, Any]:
        """Return the counts of these stores (by default, all), and at most `in_flight` operations in flight."""
        now, counts = self.clock(), self.activity.in_flight_counts()
        operations, omitted = self.operations.rows(now, stores, counts, ROWS)
        return {
            "now": now,
            "started": self.started,
            "stores": self.history.stores,
            "totals": self.totals(stores),
            "operations": operations,
            "operations_omitted": omitted,
            **self.activity.in_flight(stores, in_flight),
        }

    def _listeners(self) -> Listeners:
        return self.activity.listeners

    def _drop(self, count: int) -> None:
        self.missed += count
        self.ring.skip(count)

    def _consume(self, at: float, event: BaseEvent) -> None:
        if isinstance(event, EventsDroppedEvent) and event.source is self._stream:
            return  # the ring has a gap in its place
        number = self.ring.last + 1
        recorded: float = getattr(event, "recorded_at", at)
        data = self.codec.data_of(event)
        text = self.codec.encode(event, time=recorded, data=data)
        self._count(at, event)
        if isinstance(event, StoreProgressEndEvent | StoreTransactionEndEvent):
            self.activity.add_end(event, recorded, data)
        self.ring.append(
            BufferedEvent(
                number,
                recorded,
                self.codec.type_of(event),
                event.store if isinstance(event, StoreEvent) else None,
                getattr(event, "operation", None),
                getattr(event, "outcome", None),
                b"id: %b\ndata: %b\n\n" % (self.position(number).encode(), text),
                id_of(event),
            )
        )

    def _count(self, at: float, event: BaseEvent) -> None:
        if isinstance(event, StoreProgressEndEvent):
            self.operations.count_end(at, event)  # first: it raises before it counts anything
        elif isinstance(event, StoreProgressStepEvent):
            self.operations.count_bytes(at, event.store, event.operation, event.delta)
        if isinstance(event, StoreProgressStepEvent | StoreProgressEndEvent):
            self.history.count_bytes(at, event.store, event.direction, event.delta)
        if isinstance(event, StoreProgressEndEvent):
            self.history.count_operation(at, event)
        elif isinstance(event, StoreTransactionEndEvent):
            self.history.count_transaction(at, event)


def _failsafe(keys: bool | Redaction) -> bool | Redaction:  # noqa: FBT001 (as in EventFeed)
    """Wrap a redaction so that an error hides the key and loses no event."""
    if isinstance(keys, bool):
        return keys
    logged = set[type[Exception]]()

    def redact(key: str) -> str:
        try:
            return str(keys(key))
        except Exception as error:
            if type(error) not in logged:  # one line for each class, not for each event
                logged.add(type(error))
                logger.error("redaction %r failed", keys, exc_info=error)  # noqa: TRY400 (isolated as listeners are)
            return HIDDEN

    return redact
