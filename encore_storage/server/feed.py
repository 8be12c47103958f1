"""A subscriber that encodes and counts events once for all clients of the server."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from encore_events import forks
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.ids import id_of, new_id
from encore_events.listeners import qualified_name
from encore_events.loggers import get_logger
from encore_storage.codec import EventCodec
from encore_storage.codec.recorded import recorded_time
from encore_storage.events import (
    StoreEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
)
from encore_storage.processes.frames import MAX_BATCH, MAX_EVENT, Batch, ForwardedEvent, Label, read_events
from encore_storage.processes.info import ProcessInfo, describe_process
from encore_storage.processes.sender import Sender
from encore_storage.redaction import Redaction, checked_keys
from encore_storage.server.members import Members
from encore_storage.server.operation_table import Key
from encore_storage.server.process_state import MemberState, OwnState, ProcessState
from encore_storage.server.ring import BufferedEvent, Ring
from encore_storage.server.view import View
from encore_storage.subscribers.base import Listeners
from encore_storage.subscribers.odd_values import name_of
from encore_storage.subscribers.sink import Sink

logger = get_logger("encore_storage")

CAPACITY = 10_000  # the number of events that are kept
BATCH_SECONDS = 0.05  # between batches of events to encode
HIDDEN = "(hidden)"  # replaces a key whose redaction failed


class EventFeed(Sink):
    """The latest events as CloudEvents, ten minutes of counts, and what is in flight.

    Emitting threads only put events into a stream. The feed encodes and counts them in a thread of its own, which
    runs from `connect` to `disconnect`. Events that it drops are counted as missed.

    In a group of processes, each has a feed. One of them serves, and takes the events and states of the others from a
    Receiver, to which the feed is the destination. The others forward theirs to it.

    Args:
        capacity: how many of the latest events are kept.
        keys: True to encode keys as they are, False to leave them out, or a function that returns a replacement.
        clock: seconds since the epoch.
        process: the description of this process.

    Raises:
        TypeError: keys is not a bool or a function.
        ValueError: the capacity is not an int of at least 1.

    Attributes:
        run: the prefix of positions, unique for each run of the program.
        former_runs: the runs of processes of this group that served before.
        ring: the latest events.
        own: the counts of this process, and what it has in flight.
        members: the other processes.
    """

    def __init__(
        self,
        *,
        capacity: int = CAPACITY,
        keys: bool | Redaction = True,
        clock: Any = time.time,
        process: ProcessInfo | None = None,
    ) -> None:
        super().__init__("feed", BATCH_SECONDS)
        if type(capacity) is not int or capacity < 1:
            raise ValueError(f"capacity must be an int of at least 1, not {capacity!r}")
        self.run = new_id()[:8]
        self._run = self.run.encode()
        self.former_runs: tuple[str, ...] = ()
        self.ring = Ring(capacity)
        self.codec = EventCodec(keys=_failsafe(checked_keys(keys)))
        self._hides_keys = self.codec.hides_keys
        self.clock = clock
        self.own = OwnState(process or describe_process(clock()), self.codec.data_of, clock)
        self.members = Members(clock)
        self._sender: Sender | None = None
        self._batch = Batch()
        self._renew()
        forks.renew_in_child(self, EventFeed._renew)

    @property
    def serves(self) -> bool:
        """True if the events are shown in this process; False if they are forwarded."""
        return self._sender is None

    def position(self, number: int) -> str:
        """Return the id from which a client resumes after the event with that number."""
        return f"{self.run}-{number}"

    def view(self, processes: Collection[int] = ()) -> View:
        """Return the sum of the states of all processes, or of those with these ids."""
        states: dict[object, ProcessState] = {"own": self.own, "others": self.members.sum}
        if processes:
            known: list[OwnState | MemberState] = [self.own, *self.members.all]
            states = {state.process: state for state in known if state.process.pid in processes}
        return View(states, self.clock)

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """Return all counts of all processes since the start, of these stores or (by default) all."""
        return self.view().totals(stores)

    def processes(self, *, with_totals: bool = False) -> list[dict[str, Any]]:
        """Return the processes, this one first, optionally with their counts and the number in flight."""
        own = {**self.own.process._asdict(), "state": "running", "ended_at": None, "is_serving": True}
        found = [(own, self.own), *((one.described(), one) for one in self.members.all)]
        if not with_totals:
            return [described for described, _ in found]
        return [
            {
                **described,
                "in_flight": state.in_flight_counts().total(),
                "totals": {**state.totals(), "unsent": state.unsent},
            }
            for described, state in found
        ]

    def take_up(self, event: BaseEvent) -> None:
        """Take an event that was emitted just before the feed is connected."""
        for cls, listener in self._listeners().items():
            if isinstance(event, cls):
                listener(event)
        self._consume(self.clock(), event)

    def forward_to(self, sender: Sender) -> None:
        """Send events and state to the serving process from now on, instead of showing them here.

        While the sender is not connected, it keeps as much as fits into its queue.
        """
        sender.source = self.own
        with self._writing:
            self._sender = sender

    def serve(self) -> None:
        """Show events here from now on, those that the sender has not sent included.

        The sender must not be connected. Does nothing if the feed serves already.
        """
        with self._writing:
            sender = self._sender
            if sender is None:
                return
            self._send_batch(sender)
            payloads, dropped = sender.take_back()
            for payload in payloads:
                skipped, events = read_events(payload)
                self.ring.skip(skipped)
                self._append(events)
            self.ring.skip(dropped)
            self._sender = None

    def join(self, process: ProcessInfo) -> MemberFeed:
        """Return what takes the events and the state of another process. For a Receiver."""
        return MemberFeed(self, self.members.join(process))

    def take_events(self, skipped: int, events: Iterable[ForwardedEvent]) -> None:
        """Append the events of another process, after a gap for those that it dropped."""
        with self._writing:
            self.ring.skip(skipped)
            self._append(events)

    def _listeners(self) -> Listeners:
        return self.own.activity.listeners

    def _unheard_listeners(self) -> Listeners:
        return self.own.activity.unheard_listeners

    def _drop(self, count: int) -> None:
        self.own.missed += count
        self.own.version += 1
        with self._writing:
            if self._sender is None:
                self.ring.skip(count)
                return
            self._send_batch(self._sender)
            self._sender.skip(count)

    def _consume(self, at: float, event: BaseEvent) -> None:
        if isinstance(event, EventsDroppedEvent) and event.source is self._stream:
            return  # there is a gap in its place
        replayed = recorded_time(event)
        recorded = at if replayed is None else replayed
        data = self.codec.data_of(event)
        text = self.codec.encode(event, time=recorded, data=data)
        self._count(at, event)
        if replayed is not None:
            self.own.replayed = replayed
        if isinstance(event, StoreProgressEndEvent | StoreTransactionEndEvent):
            self.own.activity.add_end(event, recorded, data)
        self.own.version += 1
        label = Label(
            self.codec.type_of(event),
            name_of(event.store) if isinstance(event, StoreEvent) else None,
            name_of(event.operation) if isinstance(event, StoreProgressEvent) else None,
            name_of(event.outcome) if isinstance(event, StoreProgressEndEvent | StoreTransactionEndEvent) else None,
            self.codec.process_of(event),
        )
        with self._writing:
            if self._sender is None:
                self._append(((recorded, label, id_of(event), text),))
            elif len(text) > MAX_EVENT:
                self._sender.skip(1)
            else:
                self._batch.add(recorded, label, id_of(event), text)
                if self._batch.size >= MAX_BATCH:
                    self._send_batch(self._sender)

    def _flush(self) -> None:
        with self._writing:
            if self._sender is not None:
                self._send_batch(self._sender)

    def _append(self, events: Iterable[tuple[float, Label, str, bytes]]) -> None:
        """Append events to the ring. The caller has the lock, since the ring has one writer at a time."""
        run, append, new = self._run, self.ring.append, tuple.__new__
        for number, (at, label, id_, text) in enumerate(events, self.ring.last + 1):
            frame = b"id: %b-%d\ndata: %b\n\n" % (run, number, text)
            append(new(BufferedEvent, (number, at, *label, frame, id_)))  # half the time of BufferedEvent()

    def _send_batch(self, sender: Sender) -> None:
        batch = self._batch
        if batch.count:
            self._batch = Batch()
            sender.put(batch.payload(), batch.count)
            self.own.unsent = sender.unsent

    def _renew(self) -> None:
        self._writing = threading.Lock()  # another thread may have held the old one at the fork

    def _count(self, at: float, event: BaseEvent) -> None:
        own = self.own
        if isinstance(event, StoreProgressEndEvent):
            own.operations.count_end(at, event)  # first: it raises before it counts anything
            own.history.count_operation(at, event)
            own.history.count_bytes(at, event.store, event.direction, event.delta)
        elif isinstance(event, StoreProgressStepEvent):
            own.operations.count_bytes(at, event.store, event.operation, event.delta)
            own.history.count_bytes(at, event.store, event.direction, event.delta)
        elif isinstance(event, StoreTransactionEndEvent):
            own.history.count_transaction(at, event)


class MemberFeed:
    """Takes what one other process sends, in the thread of a Receiver."""

    def __init__(self, feed: EventFeed, state: MemberState) -> None:
        self._feed = feed
        self._state = state

    def __repr__(self) -> str:
        return f"<MemberFeed of process {self._state.process.pid}>"

    def take_events(self, payload: bytes) -> None:
        """Take a batch. Raises FrameError."""
        skipped, events = read_events(payload)
        self._feed.take_events(skipped, events)

    def take_state(self, payload: bytes) -> None:
        """Take a message with changes of the state. Raises FrameError."""
        self._state.take(payload, self._feed.members.sum)

    def leave(self, *, vanished: bool) -> Counter[Key]:
        """Take the end of the process, and return the number of operations in flight by store and operation."""
        return self._feed.members.end(self._state, vanished=vanished)


def _failsafe(keys: bool | Redaction) -> bool | Redaction:  # noqa: FBT001 (as in EventFeed)
    """Wrap a redaction so that an error hides the key and loses no event."""
    if isinstance(keys, bool):
        return keys
    logged = set[type[Exception]]()

    def redact(key: str) -> str:
        try:
            return str(keys(key))
        except Exception as error:  # noqa: BLE001 (isolated as listeners are)
            if type(error) not in logged:  # one line for each class, not for each event
                logged.add(type(error))
                # Without the text and the traceback, which may quote the key.
                logger.error("redaction %s failed: %s", qualified_name(keys), type(error).__name__)  # noqa: TRY400
            return HIDDEN

    return redact
