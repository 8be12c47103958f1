"""What happens in the stores, made ready for whoever asks for it over the network: encoded once, counted once."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.ids import id_of, new_id
from encore_storage.codec import EventCodec
from encore_storage.events import (
    StoreEvent,
    StoreProgressEndEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
)
from encore_storage.redaction import Redaction, checked_keys
from encore_storage.server.activity import Activity
from encore_storage.server.history import History
from encore_storage.server.ring import BufferedEvent, Ring
from encore_storage.subscribers.base import Listeners
from encore_storage.subscribers.sink import Sink

logger = logging.getLogger("encore_storage")

CAPACITY = 10_000
"""How many of the latest events can be asked for."""

BATCH_SECONDS = 0.05
"""How long events are gathered before they are encoded, together, in a thread of their own."""

HIDDEN = "(hidden)"
"""What is told of a key for which the redaction failed."""


class EventFeed(Sink):
    """The latest events as CloudEvents, ten minutes of counts, and what is in flight.

    The stores only put their events into a stream; all else is done in a thread of the feed's own, which begins
    with `connect` and ends with `disconnect`. What it could not keep up with is counted as missed.

    Args:
        capacity: how many of the latest events are held.
        keys: True to tell keys as they are, False to leave them out, or a function of a key that gives what is
            told in its place.
        clock: seconds since the epoch.

    Raises:
        TypeError: keys can't redact any.
        ValueError: the capacity isn't a whole number of at least 1.

    Attributes:
        run: what positions begin with; another one in each run of the program.
        ring: the latest events.
        history: counts by the second.
        activity: what is in flight, and what ended last.
        missed: how many events it could not keep up with.
        started: since when it listens, in seconds since the epoch.
    """

    def __init__(self, *, capacity: int = CAPACITY, keys: bool | Redaction = True, clock: Any = time.time) -> None:
        """Make a feed that is not connected."""
        super().__init__("feed", BATCH_SECONDS)
        if type(capacity) is not int or capacity < 1:
            raise ValueError(f"capacity must be a whole number of at least 1, not {capacity!r}")
        self.run = new_id()[:8]
        self.ring = Ring(capacity)
        self.history = History()
        self.codec = EventCodec(keys=_isolated(checked_keys(keys)))
        self.activity = Activity(self.codec.data_of, clock)
        self.missed = 0
        self.clock = clock
        self.started: float = clock()

    def position(self, number: int) -> str:
        """Return the place of the event with that number: what a client sends back to resume after it."""
        return f"{self.run}-{number}"

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """All counts since the start, of these stores; without any, of all."""
        return {**self.history.totals(stores), "missed": self.missed}

    def state(self, stores: Collection[str], in_flight: int) -> dict[str, Any]:
        """What these stores (without any, all) have done so far, and at most so many of what is in flight."""
        return {
            "now": self.clock(),
            "started": self.started,
            "stores": self.history.stores,
            "totals": self.totals(stores),
            **self.activity.in_flight(stores, in_flight),
        }

    def _listeners(self) -> Listeners:
        return self.activity.listeners

    def _drop(self, count: int) -> None:
        self.missed += count
        self.ring.skip(count)

    def _consume(self, at: float, event: BaseEvent) -> None:
        if isinstance(event, EventsDroppedEvent) and event.source is self._stream:
            return  # the ring has a gap there
        number = self.ring.last + 1
        recorded: float = getattr(event, "recorded_at", at)
        data = self.codec.data_of(event)
        text = self.codec.encode(event, time=recorded, data=data)
        self._count(at, event)
        if isinstance(event, StoreProgressEndEvent | StoreTransactionEndEvent):
            self.activity.ended(event, recorded, data)
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
        if isinstance(event, StoreProgressStepEvent | StoreProgressEndEvent):
            self.history.bytes_moved(at, event.store, event.direction, event.delta)
        if isinstance(event, StoreProgressEndEvent):
            self.history.operation_ended(at, event)
        elif isinstance(event, StoreTransactionEndEvent):
            self.history.transaction_ended(at, event)


def _isolated(keys: bool | Redaction) -> bool | Redaction:  # noqa: FBT001 (as it is given)
    """The redaction, whose failure hides the key and nothing else."""
    if isinstance(keys, bool):
        return keys
    told = set[type[Exception]]()

    def redact(key: str) -> str:
        try:
            return str(keys(key))
        except Exception as error:
            if type(error) not in told:  # once for each kind, and not for each event
                told.add(type(error))
                logger.error("redaction %r failed", keys, exc_info=error)  # noqa: TRY400 (isolated as listeners are)
            return HIDDEN

    return redact
