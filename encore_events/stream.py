"""A stream: an iterator over events, for a reader in another thread or an event loop."""

from __future__ import annotations

import asyncio
import itertools
import time
import types
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar, cast, get_args

from encore_events import forks
from encore_events.buffer import BUFFERS, Buffer, Policy
from encore_events.conditions import Filter, Where
from encore_events.drops import Drops
from encore_events.errors import InvalidListenerError, StreamError
from encore_events.events import BaseEvent, EventsDroppedEvent, check_event_class
from encore_events.listeners import FIRST
from encore_events.reporting import Emitter
from encore_events.subscription import Subscription

__all__ = ["EventStream"]

E = TypeVar("E", bound=BaseEvent)

READS_IN_A_ROW = 100  # of an `async for` before other tasks get a turn


class Connector(Emitter, Protocol):
    """The part of an event manager that a stream needs."""

    @property
    def connect(self) -> Callable[..., Subscription]:
        """The manager's `connect`."""


class EventStream(Generic[E]):
    """An iterator over the events of a class; made by an event manager's `stream()`.

    >>> from encore_events import BaseEvent, EventManager
    >>> manager = EventManager()
    >>> stream = manager.stream(BaseEvent)
    >>> manager.emit(BaseEvent(word="hello"))
    >>> stream
    <EventStream of BaseEvent: 1 waiting, 0 dropped>
    >>> manager.close()
    >>> [event.word for event in stream]
    ['hello']

    `for` and `async for` wait for events, and end when the stream is closed and all events were read. Any number of
    threads and event loops may read one stream. Each event goes to one reader; each reader gets its events in order.
    Dropped events are replaced by an EventsDroppedEvent, with the stream as its source and their number as its `count`.

    A stream gets an event before any listener can veto it. It has no thread or task of its own. A stream that is
    garbage collected is disconnected.

    With the policy 'block', an emitter waits for a free place. The thread that last read the stream (before the first
    read: the thread that made it) can't wait for itself, so it doesn't wait. An emit in any other event loop blocks
    that loop.

    A stream that is open at a fork belongs to the parent. In the child it is closed and empty, no emitter waits for
    its readers, and reading it raises ForkedError.
    """

    def __init__(
        self,
        manager: Connector,
        cls: type[E],
        filter: Filter | None = None,  # noqa: A002 (the name that connect() has)
        *,
        where: Where | None = None,
        capacity: int = 10_000,
        policy: Policy = "drop_oldest",
        name: str = "stream",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to the event manager; see its `stream()`. `clock`, in seconds, paces the reports of drops."""
        check_event_class(cls)
        number = cast("object", capacity)
        if not isinstance(number, int) or number < 1:
            raise StreamError("capacity", capacity, "a whole number of at least 1")
        if policy not in get_args(Policy):
            raise StreamError("policy", policy, "'block', 'drop_oldest' or 'drop_newest'")
        self.cls = cls
        self._buffer = cast("Buffer[E]", BUFFERS[policy](capacity, Drops(self, manager, name, clock)))
        self._subscription: Subscription | None = None
        forks.renew_in_child(self, EventStream._abandon)
        self._until_pause = itertools.cycle(reversed(range(READS_IN_A_ROW)))
        gets_notices = issubclass(cls, EventsDroppedEvent) or issubclass(EventsDroppedEvent, cls)
        self._put = self._buffer.put_unless_own_notice if gets_notices else self._buffer.put
        try:
            self._subscription = manager.connect(cls, self._put, filter, FIRST, where=where)
        except InvalidListenerError as error:
            raise InvalidListenerError(self, error.reason) from None
        # The listener is the buffer's method: an emitter that waits for a place keeps the buffer alive, not the stream.
        weakref.finalize(self, self._buffer.close).atexit = False

    @property
    def dropped(self) -> int:
        """The number of events dropped so far."""
        return self._buffer.dropped

    @property
    def closed(self) -> bool:
        """True if the stream accepts no more events; some may still be unread."""
        return self._buffer.closed

    def __len__(self) -> int:
        return len(self._buffer)

    def __bool__(self) -> bool:
        """Return True, even if no event is unread."""
        return True

    def __repr__(self) -> str:
        state = f"{len(self)} waiting, {self.dropped} dropped{', closed' * self.closed}"
        return f"<EventStream of {self.cls.__name__}: {state}>"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> E | EventsDroppedEvent:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E | EventsDroppedEvent:
        """Wait for the next event. If the task is cancelled meanwhile, the next reader gets that event."""
        if next(self._until_pause) == 0:
            await asyncio.sleep(0)
        while (taken := self._buffer.take()) is None:
            if not await self._buffer.wait_async():
                raise StopAsyncIteration
        return taken[1]

    def put(self, event: E) -> None:
        """Add an event that was emitted before the stream was connected."""
        self._put(event)

    def get(self, timeout: float | None = None) -> E | EventsDroppedEvent | None:
        """Return the next event, or None after `timeout` seconds or at the end. Raises ForkedError in a child."""
        end = None if timeout is None else time.monotonic() + timeout
        while (taken := self._buffer.take()) is None:
            if not self._buffer.wait(None if end is None else end - time.monotonic()):
                return None
        return taken[1]

    def drain(self) -> list[tuple[float, E | EventsDroppedEvent]]:
        """Return all unread events, each with the time of its emit (seconds since the epoch); may be empty."""
        self._buffer.check_own()
        most = 2 * len(self) + 1  # a notice of drops may precede each event, and follow the last
        return list(itertools.islice(iter(self._buffer.take, None), most))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds or until the stream is closed; return whether there is an unread event."""
        return self._buffer.wait(timeout)

    def close(self) -> None:
        """Accept no more events and unblock emitters. Unread events can still be read, then the stream ends."""
        forks.this_process()
        self._buffer.close()  # first: an interrupt then leaves nobody waiting, and closing again does the rest
        self._disconnect()
        self._buffer.report()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _abandon(self) -> object:
        """Close the stream in a forked child: it is the parent's."""
        left = self._buffer.abandon()
        self._disconnect()
        return left

    def _disconnect(self) -> None:
        if self._subscription is not None:
            self._subscription.disconnect()


def close_stream(func: Callable[..., object] | None) -> None:
    """Close the stream that connected `func`, if one did. For the event manager."""
    if isinstance(func, types.MethodType) and isinstance(func.__self__, Buffer):
        func.__self__.close()
        func.__self__.report()
