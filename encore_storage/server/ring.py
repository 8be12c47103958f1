"""The latest events, encoded, for whoever was away for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """One event that was told.

    Attributes:
        number: its place among all events of the run; the first is 1.
        time: when it was emitted, in seconds since the epoch.
        type: its type as a CloudEvent.
        store: the name of its store, or None.
        operation: the name of the operation that it is about, or None.
        outcome: how that, or the transaction, ended; None where nothing ended.
        frame: the whole message, as it goes over the wire.
    """

    number: int
    time: float
    type: str
    store: str | None
    operation: str | None
    outcome: str | None
    frame: bytes


class Slice(NamedTuple):
    """What came after an event.

    Attributes:
        missed: how many events came that are no longer, or never were, in the ring.
        entries: those that are, in order.
        last: the number of the latest event, whether it is among them or not.
    """

    missed: int
    entries: list[Entry]
    last: int


class Ring:
    """The latest `capacity` events by their number. One thread writes, any number of others read, and none waits.

    >>> ring = Ring(capacity=2)
    >>> for number in (1, 2, 3):
    ...     ring.append(Entry(number, number / 2, "door.opened", None, None, None, b""))
    >>> found = ring.after(0)
    >>> found.missed, [entry.time for entry in found.entries]
    (1, [1.0, 1.5])
    """

    def __init__(self, capacity: int) -> None:
        """Make an empty ring."""
        self.capacity = capacity
        self.last = 0
        self._slots: list[Entry | None] = [None] * capacity

    def __len__(self) -> int:
        """How many events it may hold by now."""
        return min(self.last, self.capacity)

    def __repr__(self) -> str:
        """How full it is, and how much has passed through it."""
        return f"<Ring: {len(self)} of {self.capacity}, last {self.last}>"

    def append(self, entry: Entry) -> None:
        """Take the entry, whose number is the one after `last`; the oldest gives way."""
        self._slots[entry.number % self.capacity] = entry
        self.last = entry.number  # only now may readers look for it

    def skip(self, count: int) -> None:
        """Leave out the numbers of `count` events that were lost before they arrived here."""
        self.last += count

    def after(self, number: int) -> Slice:
        """All that came after the event with that number."""
        last = self.last
        if number >= last:
            return Slice(0, [], last)
        entries = list(self._held(max(number, last - self.capacity) + 1, last))
        return Slice(last - number - len(entries), entries, last)

    def before(self, time: float) -> int:
        """The number after which all events come that were emitted at `time` or later, as far as they are held."""
        last = self.last
        held = self._held(max(last - self.capacity, 0) + 1, last)
        return next((entry.number - 1 for entry in held if entry.time >= time), last)

    def _held(self, first: int, last: int) -> Iterator[Entry]:
        for number in range(first, last + 1):
            entry = self._slots[number % self.capacity]
            if entry is not None and entry.number == number:  # else skipped, or overwritten meanwhile
                yield entry
