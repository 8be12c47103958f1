"""The buffer of a stream, between threads that emit and threads and event loops that read.

No lock is acquired, so an emitter may be a finalizer within a garbage collection. A forked child has no part in it:
the events are the parent's.

Popping an event and checking that all drops before it are reported must be atomic, and so must dropping an event and
counting the drop. Each is one call into C, which no other thread can divide: `next()` of a `map` over iterators that
do the single steps.
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
from encore_events.frames import kept
from encore_events.gates import Gates, LoopGate, ThreadGate, open_all, open_all_in_child, open_one
from encore_events.owner import here

E = TypeVar("E", bound=BaseEvent)

Item = tuple[float, E, int | None]
"""The time of an emit, its event, and the length of `Drops.left` then if that gives the drops before the event."""

Policy = Literal["block", "drop_oldest", "drop_newest"]


class Buffer(Generic[E]):
    """A queue of events that drops the oldest when it is full.

    Attributes:
        drops: counts and reports dropped events.
        closed: whether it accepts no more events.
    """

    def __init__(self, capacity: float, drops: Drops) -> None:
        self.drops = drops
        self.closed = False
        self._process = forks.this_process()
        self._parent: forks.Process | None = None  # the process that reads it, if this one is a forked child
        self._capacity = capacity
        self._events: deque[Item[E]] = deque()
        # Alternately the length of `drops.left` before an item, and the item.
        self._aside: deque[int | Item[E]] = deque()
        self._readers: Gates = {}
        self._emitters: Gates = {}
        self._reader: object = here.token  # the last reader; before the first read, only the maker can be one
        self._lefts = self._lefts_before_oldest()
        self._sizes = map(len, itertools.repeat(self._events))
        self._oldest = iter(self._events.popleft, None)
        self._victims = self._oldest
        self._is_too_many = functools.partial(operator.lt, capacity)
        self._sizes_aside = map(len, itertools.repeat(self._aside))
        self._direct = self._direct_items()

    def __len__(self) -> int:
        return len(self._events) + (len(self._aside) + 1) // 2

    def put(self, event: E) -> None:
        """Add an event. This is the stream's listener."""
        self._add((time.time(), kept(event), None))

    def put_unless_own_notice(self, event: E) -> None:
        """Add an event unless it reports drops of this very buffer."""
        if not self.drops.is_notice(event):
            self.put(event)

    def take(self) -> tuple[float, E | EventsDroppedEvent] | None:
        """Pop the next event, or a notice of drops before it, and its time; None if all is read. Raises ForkedError."""
        if self._parent is not None:
            self.check_own()
        self._reader = here.token
        if self.drops.has_pending:
            self.drops.report_pending()
        left = operator.length_hint(self.drops.left)  # read first: later drops are reported after later events
        while self._events or self._aside:
            try:
                taken = next(self._direct, None) or self._take_aside()
            except IndexError:  # another reader has popped it
                continue
            if isinstance(taken, slice):
                if self._emitters:
                    open_one(self._emitters)
                at, event, _ = taken.step
                return at, event
            if taken is not None:
                return taken
        open_all(self._emitters)  # an interrupt of an emitter whose gate was open may have kept others waiting
        count = self.drops.claim_unreported(left)
        return (time.time(), self.drops.notice(count)) if count else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds, or until it is closed; return whether something is unread."""
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
        """Do the same in a task, without a timeout."""
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
        """Accept no more events, and let all waiters pass. Unread events can still be taken."""
        self.closed = True
        open_all(self._readers)
        open_all(self._emitters)

    def check_own(self) -> None:
        """Raise ForkedError if the buffer was open when this process was forked: it is the parent's."""
        forks.this_process()  # detects a fork without hooks
        if self._parent is not None:
            advice = "make a stream of this process's own with stream() of the event manager"
            raise ForkedError(f"{self.drops.stream() or self!r}", self._parent.pid, advice)

    def abandon(self) -> object:
        """Close and empty it in a forked child, and return its events, to be freed.

        The child may read its copy of a buffer that was closed before the fork.
        """
        open_all_in_child(self._readers)
        open_all_in_child(self._emitters)
        if self.closed:
            return None
        self.closed = True
        self._parent = self._process
        inherited = [*self._events, *self._aside]
        self._events.clear()
        self._aside.clear()
        return inherited

    def _add(self, item: Item[E]) -> None:
        if self.closed:
            return
        try:
            self._events.append(item)
            if len(self._events) > self._capacity:
                self._drop_excess()
            if self._readers:
                open_all(self._readers)
        except BaseException:  # an interrupt of the emitter must not leave a reader asleep beside the event
            open_all(self._readers)
            raise

    def _take_aside(self) -> tuple[float, E | EventsDroppedEvent] | None:
        """Put the oldest event aside with the length of `drops.left` before it, and pop one of the two.

        Return None if that is a length, and all drops before the event are reported by now.
        """
        if not self._aside:
            # An event put aside can't be dropped; otherwise a slow reader would get notices only.
            if_any = itertools.takewhile(bool, self._sizes)
            lefts, items = map(self._aside.append, self._lefts), map(self._aside.append, self._oldest)
            next(map(slice, if_any, lefts, items), None)
        first = self._aside.popleft()
        if isinstance(first, tuple):
            self._direct = self._direct_items()
            return first[:2]
        count = self.drops.claim_unreported(first)
        return (self._time_of_aside(), self.drops.notice(count)) if count else None

    def _time_of_aside(self) -> float:
        try:
            following = self._aside[0]
        except IndexError:  # another reader has popped it
            return time.time()
        return time.time() if isinstance(following, int) else following[0]

    def _direct_items(self) -> Iterator[slice]:
        """Return an iterator that pops the oldest item, and ends when drops before it are unreported."""
        none_aside = itertools.takewhile(operator.not_, self._sizes_aside)
        all_reported = itertools.takewhile(functools.partial(operator.eq, self.drops.left_when_reported), self._lefts)
        return map(slice, none_aside, all_reported, self._oldest)  # `slice` because C can make one of any three objects

    def _lefts_before_oldest(self) -> Iterator[int]:
        """Return an iterator over the length of `drops.left` after all drops before the oldest event."""
        return map(operator.length_hint, itertools.repeat(self.drops.left))

    def _drop_excess(self) -> None:
        too_many = itertools.takewhile(self._is_too_many, self._sizes)
        for _ in map(slice, too_many, self._victims, self.drops.left):
            self.drops.report_paced()
        if self.closed:  # meanwhile, so the final report did not include these drops
            self.drops.report_final()

    def _is_ready(self) -> bool | None:
        """Return whether something is unread; None if a reader has to wait to know."""
        closed = self.closed  # read first: events emitted before the closing are in the queue by now
        if self._events or self._aside or self.drops.has_unreported:
            return True
        return False if closed else None


class DropNewest(Buffer[E]):
    """A buffer that drops the newest event when it is full."""

    def __init__(self, capacity: float, drops: Drops) -> None:
        super().__init__(capacity, drops)
        self._victims = iter(self._events.pop, None)

    def put(self, event: E) -> None:
        """Add an event, with the length of `drops.left`."""
        self._add((time.time(), kept(event), operator.length_hint(self.drops.left)))

    def _lefts_before_oldest(self) -> Iterator[int]:
        return map(operator.itemgetter(2), map(operator.itemgetter(0), itertools.repeat(self._events)))


class Block(Buffer[E]):
    """A buffer that makes emitters wait for a free place, except the thread that reads it."""

    def __init__(self, capacity: float, drops: Drops) -> None:
        super().__init__(math.inf, drops)
        self._places = capacity

    def put(self, event: E) -> None:
        """Add an event when there is a free place."""
        while self._must_wait():
            forks.this_process()  # in a forked child, which nobody reads for, this closes the buffer
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
