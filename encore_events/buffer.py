"""The buffer of a stream, between threads that emit and threads and event loops that read.

An event is added by `deque.append`, which is safe in any thread. All other changes of the queue and its counts are made
under one reentrant lock. Nothing is called and no container is made while it is held: that is where the interpreter
switches threads, handles signals and collects garbage. So nobody waits for a holder whose finalizer waits for another
lock. Should a holder be entered again nevertheless (by a debugger, say), the inner call finds the buffer busy, and
neither drops nor reads anything.

A forked child has no part in the buffer: the events are the parent's.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from encore_events import forks
from encore_events.drops import PAUSE, Drops
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.frames import kept
from encore_events.gates import Gates, LoopGate, ThreadGate, open_all, open_all_in_child, open_one
from encore_events.owner import here

E = TypeVar("E", bound=BaseEvent)

Item = tuple[float, E, int]  # the time of an emit, its event, and the number of drops by then
Policy = Literal["block", "drop_oldest", "drop_newest"]

NOTHING = None, 0


class Buffer(Generic[E]):
    """A queue of events that drops the oldest when it is full.

    Attributes:
        drops: reports dropped events.
        dropped: the number of dropped events.
        closed: whether it accepts no more events.
    """

    _drops_newest = False

    def __init__(self, capacity: float, drops: Drops) -> None:
        self.drops = drops
        self.dropped = 0
        self.closed = False
        self._process = forks.this_process()
        self._parent: forks.Process | None = None  # the process that reads it, if this one is a forked child
        self._capacity = capacity
        self._lock = threading.RLock()
        self._is_busy = False  # the holder of the lock changes something
        self._items: deque[Item[E]] = deque()
        self._aside: Item[E] | None = None  # after a notice of the drops before it
        self._removed = 0  # items of the queue, whether read or dropped
        self._noticed = 0  # drops of which the reader has got a notice
        self._reported = 0  # drops that were reported to the event manager
        self._due = -math.inf
        self._readers: Gates = {}
        self._emitters: Gates = {}
        self._reader: object = here.token  # the last reader; before the first read, only the maker can be one

    def __len__(self) -> int:
        return len(self._items) + (self._aside is not None)

    def put(self, event: E) -> None:
        """Add an event. This is the stream's listener."""
        if self.closed:
            return
        try:
            self._items.append((time.time(), kept(event), self.dropped))
            if len(self._items) > self._capacity:
                self._drop_excess()
            if self._readers:
                open_all(self._readers)
        except BaseException:  # an interrupt of the emitter must not leave a reader asleep beside the event
            open_all(self._readers)
            raise

    def put_unless_own_notice(self, event: E) -> None:
        """Add an event unless it reports drops of this very buffer."""
        if not self.drops.is_notice(event):
            self.put(event)

    def take(self) -> tuple[float, E | EventsDroppedEvent] | None:
        """Pop the next event, or a notice of drops before it, and its time; None if all is read. Raises ForkedError."""
        if self._parent is not None:
            self.check_own()
        self._reader = here.token
        if self.dropped != self._reported and not self.drops.is_reporting():
            self.report()
        item, missing = self._pop()
        if missing:
            return item[0] if item else time.time(), self.drops.notice(missing)
        if item is None:
            open_all(self._emitters)  # an interrupt of an emitter whose gate was open may have kept others waiting
            return None
        if self._emitters:
            open_one(self._emitters)
        return item[0], item[1]

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

    def report(self, *, paced: bool = False) -> None:
        """Report all drops to the event manager that aren't reported; `paced`, once in PAUSE, and not in a report."""
        now = self.drops.clock()
        if paced and (now < self._due or self.drops.is_reporting()):
            return
        with self._lock:
            if self._is_busy or (paced and now < self._due):  # another call has reported meanwhile
                return
            self._is_busy = True
            try:
                count = self.dropped - self._reported
                self._reported = self.dropped
                self._due = now + PAUSE
            finally:
                self._is_busy = False
        if count:
            self.drops.report(count)

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
        self._lock, self._is_busy = threading.RLock(), False  # its holder may not exist in the child
        self._reported = self.dropped  # by the parent
        open_all_in_child(self._readers)
        open_all_in_child(self._emitters)
        if self.closed:
            return None
        self.closed = True
        self._parent = self._process
        inherited = [*self._items, self._aside]
        self._items.clear()
        self._aside = None
        return inherited

    def _drop_excess(self) -> None:
        removed = self._removed
        while len(self._items) > self._capacity and self._drop(removed):
            removed = self._removed
        self.report(paced=not self.closed)

    def _drop(self, removed: int) -> bool:
        """Drop an item if no other was removed since `removed` were; return False if it is busy."""
        with self._lock:
            if self._is_busy:
                return False
            self._is_busy = True
            try:
                if self._removed == removed:
                    index = -1 if self._drops_newest else 0
                    _victim = self._items[index]  # freed without the lock: it may have a finalizer
                    self.dropped += 1
                    self._removed += 1
                    del self._items[index]
            finally:
                self._is_busy = False
        return True

    def _pop(self) -> tuple[Item[E] | None, int]:
        """Pop the next item. If there were drops before it, set it aside, and return their number as well."""
        with self._lock:
            if self._is_busy:
                return NOTHING
            self._is_busy = True
            try:
                missing = 0
                item = self._aside
                self._aside = None
                if item is None:
                    dropped = self.dropped
                    if self._items:
                        item = self._items[0]
                        dropped = item[2] if self._drops_newest else dropped
                        self._removed += 1
                        del self._items[0]
                    if dropped > self._noticed:
                        missing = dropped - self._noticed
                        self._noticed = dropped
                        self._aside = item  # safe from drops: otherwise a slow reader would get notices only
            finally:
                self._is_busy = False
        return item, missing

    def _is_ready(self) -> bool | None:
        """Return whether something is unread; None if a reader has to wait to know."""
        closed = self.closed  # read first: events emitted before the closing are in the queue by now
        with self._lock:
            if self._is_busy:  # with a call that goes on only after this one
                return False
            if self._items or self._aside is not None or self.dropped > self._noticed:
                return True
        return False if closed else None


class DropNewest(Buffer[E]):
    """A buffer that drops the newest event when it is full."""

    _drops_newest = True


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
        if len(self._items) < self._places or self.closed or self._reader is here.token:
            return False
        with self._lock:  # readers can't acquire it while the thread that is busy waits
            return not self._is_busy


BUFFERS: dict[Policy, Callable[[float, Drops], Buffer[BaseEvent]]] = {
    "block": Block,
    "drop_oldest": Buffer,
    "drop_newest": DropNewest,
}
