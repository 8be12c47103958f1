"""The events that wait in a stream, between threads that emit and threads and loops that read.

No lock is taken, so an emitter may be a finalizer within a garbage collection. A forked child takes no part: what
waits is its parent's. Where two things must happen as one (an event is taken out, and nothing before it was dropped
that nobody was told of; an event is dropped, and counted), they are one call into C, which no other thread can
divide: `next()` of a `map` over iterators that call what is to be done.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Literal, TypeVar

from encore_events import forks
from encore_events.drops import Drops
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.gates import Gates, LoopGate, ThreadGate, open_all, open_all_in_child, open_one
from encore_events.owner import here

E = TypeVar("E", bound=BaseEvent)

Entry = tuple[float, E, int | None]
"""The time of an emit, its event, and what was left of `Drops.left` if that says what is missing before it."""

Policy = Literal["block", "drop_oldest", "drop_newest"]


class Buffer(Generic[E]):
    """A queue of events and the time of their emits, of which the oldest are dropped when there are too many.

    Attributes:
        drops: counts what is dropped, and tells of it.
        closed: whether it takes no more events.
    """

    def __init__(self, capacity: float, drops: Drops) -> None:
        """Make an empty buffer; `capacity` is how many events may wait before some are dropped."""
        self.drops = drops
        self.closed = False
        self._process = forks.this_process()
        self._parent: forks.Process | None = None  # the process that reads it, once this one is a forked child
        self._capacity = capacity
        self._events: deque[Entry[E]] = deque()
        self._next: deque[int | Entry[E]] = deque()  # by turns what was missing before an event, and that event
        self._readers: Gates = {}
        self._emitters: Gates = {}
        self._reader: object = here.token  # until somebody reads, whoever made it is the only one who can
        self._lefts = self._missing_before_the_oldest()
        self._sizes = map(len, itertools.repeat(self._events))
        self._oldest = iter(self._events.popleft, None)
        self._victims = self._oldest
        self._is_too_many = functools.partial(operator.lt, capacity)
        self._nexts = map(len, itertools.repeat(self._next))
        self._taken = self._take_directly()

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._events) + (len(self._next) + 1) // 2

    def put(self, event: E) -> None:
        """Add an event. For the event manager to call."""
        self._add((time.time(), event, None))

    def put_unless_own_notice(self, event: E) -> None:
        """Add an event, if it doesn't tell of what was dropped here."""
        if not self.drops.is_notice(event):
            self.put(event)

    def take(self) -> tuple[float, E | EventsDroppedEvent] | None:
        """What comes next, an event or word of those that are missing before it; None if nothing waits.

        Raises:
            ForkedError: this is a forked child, and the buffer is its parent's.
        """
        if self._parent is not None:
            self.check_own()
        self._reader = here.token
        if self.drops.has_pending:
            self.drops.report_pending()
        left = operator.length_hint(self.drops.left)  # read first: later drops have their place after later events
        while self._events or self._next:
            try:
                taken = next(self._taken, None) or self._take_with_notices()
            except IndexError:  # another reader has it
                continue
            if isinstance(taken, slice):
                if self._emitters:
                    open_one(self._emitters)
                at, event, _ = taken.step
                return at, event
            if taken is not None:
                return taken
        open_all(self._emitters)  # an emitter that was let in but interrupted may have kept others waiting
        count = self.drops.claim_unreported(left)
        return (time.time(), self.drops.notice(count)) if count else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is something to take, for `timeout` seconds or until it is closed; whether there is."""
        self.check_own()
        self._reader = here.token
        end = math.inf if timeout is None else time.monotonic() + timeout
        while (is_ready := self._is_ready()) is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            gate = ThreadGate()
            self._readers[gate] = None
            try:
                if self._is_ready() is None:
                    gate.wait(left)
            finally:
                self._readers.pop(gate, None)
            self.check_own()
        return is_ready

    async def wait_async(self) -> bool:
        """The same for a task of the running event loop, without an end of its own."""
        self.check_own()
        while (is_ready := self._is_ready()) is None:
            gate = LoopGate()
            self._readers[gate] = None
            try:
                if self._is_ready() is None:
                    await gate.wait()
            finally:
                self._readers.pop(gate, None)
            self.check_own()
        return is_ready

    def close(self) -> None:
        """Take no more events, and let everyone go who waits; what is there can still be taken."""
        self.closed = True
        open_all(self._readers)
        open_all(self._emitters)

    def check_own(self) -> None:
        """Refuse a forked child.

        Raises:
            ForkedError: the buffer was open at the fork, so it is the parent's.
        """
        forks.this_process()  # a fork without hooks is noticed here
        if self._parent is not None:
            advice = "make a stream of this process's own with stream() of the event manager"
            raise ForkedError(f"{self.drops.stream or self!r}", self._parent.pid, advice)

    def abandon(self) -> object:
        """Take nothing more in a forked child, and return what waited, to be freed; the readers are its parent's.

        One that was closed before the fork is as good as a list: the child may read its copy to the end.
        """
        open_all_in_child(self._readers)
        open_all_in_child(self._emitters)
        if self.closed:
            return None
        self.closed = True
        self._parent = self._process
        waited = [*self._events, *self._next]
        self._events.clear()
        self._next.clear()
        return waited

    def _add(self, entry: Entry[E]) -> None:
        if self.closed:
            return
        try:
            self._events.append(entry)
            if len(self._events) > self._capacity:
                self._drop_excess()
            if self._readers:
                open_all(self._readers)
        except BaseException:  # an interrupt of the emitter must leave no reader asleep beside the event
            open_all(self._readers)
            raise

    def _take_with_notices(self) -> tuple[float, E | EventsDroppedEvent] | None:
        """What comes next if something is missing before it, or was; None if nothing is left to be told."""
        if not self._next:
            # Put aside, an event can't be dropped in its turn, or a reader that is too slow would read of drops alone.
            there_is_one = itertools.takewhile(bool, self._sizes)
            put_aside = map(
                slice, there_is_one, map(self._next.append, self._lefts), map(self._next.append, self._oldest)
            )
            next(put_aside, None)
        first = self._next.popleft()
        if isinstance(first, tuple):
            self._taken = self._take_directly()
            return first[:2]
        count = self.drops.claim_unreported(first)
        return (self._time_of_next(), self.drops.notice(count)) if count else None

    def _time_of_next(self) -> float:
        try:
            following = self._next[0]
        except IndexError:  # another reader has it
            return time.time()
        return time.time() if isinstance(following, int) else following[0]

    def _take_directly(self) -> Iterator[slice]:
        """Takes the oldest event, as long as all was told that is missing before it."""
        none_before = itertools.takewhile(operator.not_, self._nexts)
        all_reported = itertools.takewhile(functools.partial(operator.eq, self.drops.left_when_reported), self._lefts)
        return map(slice, none_before, all_reported, self._oldest)  # a slice is what C makes of any three things

    def _missing_before_the_oldest(self) -> Iterator[int]:
        """What is left of `drops.left` by all the drops before the oldest event."""
        return map(operator.length_hint, itertools.repeat(self.drops.left))

    def _drop_excess(self) -> None:
        too_many = itertools.takewhile(self._is_too_many, self._sizes)
        for _ in map(slice, too_many, self._victims, self.drops.left):
            self.drops.report_paced()
        if self.closed:  # meanwhile, and what was told at the end did not include this
            self.drops.report_final()

    def _is_ready(self) -> bool | None:
        """Whether there is something to take; None if that is to be waited for."""
        closed = self.closed  # read first: what was emitted before it was closed is there by now
        if self._events or self._next or self.drops.has_unreported:
            return True
        return False if closed else None


class DropNewest(Buffer[E]):
    """A buffer that drops what comes when it is full."""

    def __init__(self, capacity: float, drops: Drops) -> None:
        """Make an empty buffer."""
        super().__init__(capacity, drops)
        self._victims = iter(self._events.pop, None)

    def put(self, event: E) -> None:
        """Add an event, which knows how many are missing before it."""
        self._add((time.time(), event, operator.length_hint(self.drops.left)))

    def _missing_before_the_oldest(self) -> Iterator[int]:
        return map(operator.itemgetter(2), map(operator.itemgetter(0), itertools.repeat(self._events)))


class Block(Buffer[E]):
    """A buffer that has emitters wait for a place, all but the thread that reads."""

    def __init__(self, capacity: float, drops: Drops) -> None:
        """Make an empty buffer."""
        super().__init__(math.inf, drops)
        self._places = capacity

    def put(self, event: E) -> None:
        """Add an event when there is a place for it."""
        while self._must_wait():
            forks.this_process()  # in a forked child nobody reads, and it is closed
            gate = ThreadGate()
            self._emitters[gate] = None
            try:
                if self._must_wait():
                    gate.wait()
            finally:
                self._emitters.pop(gate, None)
        super().put(event)

    def _must_wait(self) -> bool:
        if len(self._events) < self._places or self.closed:
            return False
        return self._reader is not here.token


BUFFERS: dict[Policy, Callable[[float, Drops], Buffer[BaseEvent]]] = {
    "block": Block,
    "drop_oldest": Buffer,
    "drop_newest": DropNewest,
}
