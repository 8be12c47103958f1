"""The latest events, encoded, for whoever was away for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MAX_BYTES = 64 * 1024 * 1024
"""How long the frames may be together."""


class BufferedEvent(NamedTuple):
    """One event that was told.

    Attributes:
        number: its place among all events of the run; the first is 1.
        time: when it was emitted, in seconds since the epoch.
        type: its type as a CloudEvent.
        store: the name of its store, or None.
        operation: the name of the operation that it is about, or None.
        outcome: how that, or the transaction, ended; None where nothing ended.
        frame: the whole message, as it goes over the wire.
        id: its id as a CloudEvent.
    """

    number: int
    time: float
    type: str
    store: str | None
    operation: str | None
    outcome: str | None
    frame: bytes
    id: str = ""


class Slice(NamedTuple):
    """What came after an event.

    Attributes:
        missed: how many events came that are no longer, or never were, in the ring.
        events: those that are, in order.
        last: the number of the latest event that was looked at, whether it is among them or not.
    """

    missed: int
    events: list[BufferedEvent]
    last: int


class Ring:
    """The latest events by their number. One thread writes, any number of others read, and none waits.

    At most `capacity` of them are held, and at most `max_bytes` of their frames; what is longer by itself is skipped.

    >>> ring = Ring(capacity=2)
    >>> for number in (1, 2, 3):
    ...     ring.append(BufferedEvent(number, number / 2, "door.opened", None, None, None, b""))
    >>> found = ring.after(0)
    >>> found.missed, [event.time for event in found.events]
    (1, [1.0, 1.5])
    """

    def __init__(self, capacity: int, max_bytes: int = MAX_BYTES) -> None:
        """Make an empty ring."""
        self.capacity = capacity
        self.last = 0
        self._max_bytes = max_bytes
        self._bytes = 0
        self._oldest = 1
        self._slots: list[BufferedEvent | None] = [None] * capacity

    def __len__(self) -> int:
        """How many events it may hold by now."""
        return min(self.last, self.capacity)

    def __repr__(self) -> str:
        """How full it is, and how much has passed through it."""
        return f"<Ring: {len(self)} of {self.capacity}, last {self.last}>"

    def append(self, event: BufferedEvent) -> None:
        """Take the event, whose number is the one after `last`; the oldest give way."""
        if len(event.frame) > self._max_bytes:
            self.skip(1)
            return
        self._bytes += len(event.frame)
        while self._oldest <= event.number - self.capacity or self._bytes > self._max_bytes:
            self._drop_oldest()
        self._slots[event.number % self.capacity] = event
        self.last = event.number  # only now may readers look for it

    def skip(self, count: int) -> None:
        """Leave out the numbers of `count` events that were lost before they arrived here."""
        self.last += count

    def after(self, number: int, limit: int | None = None) -> Slice:
        """What came after the event with that number; with a limit, no more than so many that may be held."""
        last = self.last
        if number >= last:
            return Slice(0, [], last)
        first = max(number, last - self.capacity) + 1
        if limit is not None:
            last = min(last, first + limit - 1)
        events = list(self._held(first, last))
        return Slice(last - number - len(events), events, last)

    def number_of(self, id: str) -> int | None:  # noqa: A002 (what CloudEvents call it)
        """Return the number of the held event with that id, or None."""
        held = self._held(max(self.last - self.capacity, 0) + 1, self.last)
        return next((event.number for event in held if event.id == id), None)

    def before(self, time: float) -> tuple[int, bool]:
        """The number after which all held events come that were emitted at `time` or later; and whether those are all.

        They may not be where nothing is held that is older: whatever was there before is gone.
        """
        last = self.last
        number = None
        for event in self._held(max(last - self.capacity, 0) + 1, last):
            if event.time >= time:
                return (event.number - 1, event.number == 1) if number is None else (number, True)
            number = event.number
        return last, number is not None or not last

    def _drop_oldest(self) -> None:
        event = self._slots[self._oldest % self.capacity]
        if event is not None and event.number == self._oldest:
            self._slots[self._oldest % self.capacity] = None
            self._bytes -= len(event.frame)
        self._oldest += 1

    def _held(self, first: int, last: int) -> Iterator[BufferedEvent]:
        for number in range(first, last + 1):
            event = self._slots[number % self.capacity]
            if event is not None and event.number == number:  # else skipped, or overwritten meanwhile
                yield event
