"""A ring buffer of the latest encoded events, from which clients resume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MAX_BYTES = 64 * 1024 * 1024  # of all frames together


class BufferedEvent(NamedTuple):
    """An encoded event, and the attributes that queries filter by.

    Attributes:
        number: its position in the run; the first is 1.
        time: when it was emitted, in seconds since the epoch.
        type: its CloudEvents type.
        store: the name of its store, or None.
        operation: the name of its operation, or None.
        outcome: the outcome of the operation or transaction that ended, or None.
        process: the id of the process that emitted it, or None for a replayed event of an unknown one.
        frame: the whole SSE message.
        id: its CloudEvents id.
    """

    number: int
    time: float
    type: str
    store: str | None
    operation: str | None
    outcome: str | None
    process: int | None
    frame: bytes
    id: str = ""


class Slice(NamedTuple):
    """The events after a position.

    Attributes:
        missed: the number of events that are not in the ring: overwritten or skipped.
        events: the events in the ring, in order.
        last: the number at which the slice ends.
    """

    missed: int
    events: list[BufferedEvent]
    last: int


class Ring:
    """The latest events by number. One thread at a time writes and any number of threads read, without a lock.

    The ring holds at most `capacity` events and `max_bytes` bytes of frames. It skips longer frames.

    >>> ring = Ring(capacity=2)
    >>> for number in (1, 2, 3):
    ...     ring.append(BufferedEvent(number, number / 2, "door.opened", None, None, None, None, b""))
    >>> found = ring.after(0)
    >>> found.missed, [event.time for event in found.events]
    (1, [1.0, 1.5])
    """

    def __init__(self, capacity: int, max_bytes: int = MAX_BYTES) -> None:
        self.capacity = capacity
        self.last = 0
        self._max_bytes = max_bytes
        self._bytes = 0
        self._oldest = 1
        self._slots: list[BufferedEvent | None] = [None] * capacity

    def __len__(self) -> int:
        """Return an upper bound on the number of events held."""
        return min(self.last, self.capacity)

    def __repr__(self) -> str:
        return f"<Ring: {len(self)} of {self.capacity}, last {self.last}>"

    def append(self, event: BufferedEvent) -> None:
        """Append event `last + 1`, evicting the oldest."""
        size, number = len(event.frame), event.number
        if size > self._max_bytes:
            self.skip(1)
            return
        self._evict(number - self.capacity + 1, self._max_bytes - size)
        self._bytes += size
        self._slots[number % self.capacity] = event
        self.last = number  # last, since readers see the event from here on

    def skip(self, count: int) -> None:
        """Skip the numbers of `count` dropped events."""
        self.last += count

    def after(self, number: int, limit: int | None = None) -> Slice:
        """Return the slice after event `number`, of at most `limit` numbers that the ring may hold."""
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
        """Return the number before the first event emitted at `time` or later, and whether no such event is missing.

        If the ring holds no older event, such events may have been overwritten.
        """
        last = self.last
        number = None
        for event in self._held(max(last - self.capacity, 0) + 1, last):
            if event.time >= time:
                return (event.number - 1, event.number == 1) if number is None else (number, True)
            number = event.number
        return last, number is not None or not last

    def _evict(self, first: int, most: int) -> None:
        """Evict the events before number `first`, and more until there are at most `most` bytes."""
        slots, capacity, oldest = self._slots, self.capacity, self._oldest
        if first - oldest > capacity:  # after many skipped numbers, nothing is left
            slots[:] = [None] * capacity
            self._bytes, oldest = 0, first
        while oldest < first or self._bytes > most:
            place = oldest % capacity
            event = slots[place]
            if event is not None and event.number == oldest:
                slots[place] = None
                self._bytes -= len(event.frame)
            oldest += 1
        self._oldest = oldest

    def _held(self, first: int, last: int) -> Iterator[BufferedEvent]:
        for number in range(first, last + 1):
            event = self._slots[number % self.capacity]
            if event is not None and event.number == number:  # else skipped or overwritten
                yield event
