"""Events to be iterated over, in another thread or an event loop, at the reader's own pace."""

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
from encore_events.drops import Drops
from encore_events.errors import InvalidListenerError, StreamError
from encore_events.events import BaseEvent, EventsDroppedEvent, check_event_class
from encore_events.listeners import FIRST, Filter, Where
from encore_events.reporting import Emitter
from encore_events.subscription import Subscription

__all__ = ["EventStream"]

E = TypeVar("E", bound=BaseEvent)

READS_IN_A_ROW = 100
"""How many events an `async for` is given before it lets other tasks have a turn."""


class Connector(Emitter, Protocol):
    """What a stream asks of its event manager."""

    def connect(
        self,
        cls: type[E],
        func: Callable[[E], object],
        filter: Filter | None = None,  # noqa: A002 (the name that connect() has)
        priority: float = 0,
        *,
        where: Where | None = None,
        weak: bool | None = None,
    ) -> Subscription:
        """Have `func` called with every event of `cls`."""


class EventStream(Generic[E]):
    """The events of a class from now on, one after the other; made by `stream()` of an event manager.

    >>> from encore_events import BaseEvent, EventManager
    >>> manager = EventManager()
    >>> stream = manager.stream(BaseEvent)
    >>> manager.emit(BaseEvent(word="hello"))
    >>> stream
    <EventStream of BaseEvent: 1 waiting, 0 dropped>
    >>> manager.close()
    >>> [event.word for event in stream]
    ['hello']

    `for` and `async for` wait for what comes, and end when the stream is closed and all was read. Any number of
    threads and event loops may read one stream; each event goes to one of them, and what one of them gets is in order.
    Where events were dropped, an EventsDroppedEvent stands in their place, whose source is the stream and whose `count`
    says how many they were.

    A stream sees an event before any listener can veto it. It has no thread and no task of its own, and one that
    nobody keeps any more is disconnected.

    With the policy 'block' an emitter waits for a place, except in the thread that has read the stream last (before
    anyone has: that made it), which can't wait for itself. An emit in any other event loop blocks that loop.

    A stream that is open at a fork stays the parent's. In the child it is closed and empty, no emitter waits for its
    readers, and reading it raises ForkedError.
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
        """Connect to the event manager; see its `stream()`. `clock` gives seconds, to tell seldom of drops."""
        check_event_class(cls)
        whole = cast("object", capacity)
        if not isinstance(whole, int) or whole < 1:
            raise StreamError("capacity", capacity, "a whole number of at least 1")
        if policy not in get_args(Policy):
            raise StreamError("policy", policy, "'block', 'drop_oldest' or 'drop_newest'")
        self.cls = cls
        self._buffer = cast("Buffer[E]", BUFFERS[policy](capacity, Drops(self, manager, name, clock)))
        self._subscription: Subscription | None = None
        forks.renew_in_child(self, EventStream._abandon)
        self._until_pause = itertools.cycle(reversed(range(READS_IN_A_ROW)))
        hears_notices = issubclass(cls, EventsDroppedEvent) or issubclass(EventsDroppedEvent, cls)
        put = self._buffer.put_unless_own_notice if hears_notices else self._buffer.put
        try:
            self._subscription = manager.connect(cls, put, filter, FIRST, where=where)
        except InvalidListenerError as error:
            raise InvalidListenerError(self, error.reason) from None
        # The buffer is what is connected: an emitter that waits for a place keeps that alive, but not the stream.
        weakref.finalize(self, self._buffer.close).atexit = False

    @property
    def dropped(self) -> int:
        """How many events were dropped in all."""
        return self._buffer.drops.total

    @property
    def closed(self) -> bool:
        """Whether no more events are taken; some may still wait to be read."""
        return self._buffer.closed

    def __len__(self) -> int:
        """How many events wait to be read."""
        return len(self._buffer)

    def __bool__(self) -> bool:
        """A stream is a stream, even with nothing in it."""
        return True

    def __repr__(self) -> str:
        """Of what it is, how many events wait and how many were dropped."""
        state = f"{len(self)} waiting, {self.dropped} dropped{', closed' * self.closed}"
        return f"<EventStream of {self.cls.__name__}: {state}>"

    def __iter__(self) -> Self:
        """The stream itself: what one loop leaves, the next one gives."""
        return self

    def __next__(self) -> E | EventsDroppedEvent:
        """Wait for the next event."""
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> Self:
        """The stream itself, as in `for`."""
        return self

    async def __anext__(self) -> E | EventsDroppedEvent:
        """Wait for the next event; a task that is cancelled meanwhile leaves it to the next reader."""
        if next(self._until_pause) == 0:
            await asyncio.sleep(0)
        while (taken := self._buffer.take()) is None:
            if not await self._buffer.wait_async():
                raise StopAsyncIteration
        return taken[1]

    def get(self, timeout: float | None = None) -> E | EventsDroppedEvent | None:
        """The next event; None if there was none for `timeout` seconds, or the stream is closed and all was read.

        Raises:
            ForkedError: this is a forked child, and the stream is its parent's (as of all that reads).
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (taken := self._buffer.take()) is None:
            if not self._buffer.wait(None if end is None else end - time.monotonic()):
                return None
        return taken[1]

    def drain(self) -> list[tuple[float, E | EventsDroppedEvent]]:
        """All that waits now, each with the time of its emit (seconds since the epoch); may be empty."""
        self._buffer.check_own()
        most = 2 * len(self) + 1  # events may be missing before each, and at the end
        return list(itertools.islice(iter(self._buffer.take, None), most))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something can be read, for `timeout` seconds or until the stream is closed; whether it can."""
        return self._buffer.wait(timeout)

    def close(self) -> None:
        """Take no more events, and let blocked emitters go; what waits can still be read, then the stream ends."""
        forks.this_process()
        self._buffer.close()  # first: an interrupt leaves nobody waiting, and closing again does the rest
        self._disconnect()
        self._buffer.drops.report_final()

    def __enter__(self) -> Self:
        """Give the stream, which takes events since it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _abandon(self) -> object:
        """Leave the stream to the parent, in a forked child."""
        left = self._buffer.abandon()
        self._disconnect()
        return left

    def _disconnect(self) -> None:
        if self._subscription is not None:
            self._subscription.disconnect()


def close_stream(func: Callable[..., object] | None) -> None:
    """Close the stream whose listener `func` is, if it is one. For the event manager."""
    if isinstance(func, types.MethodType) and isinstance(func.__self__, Buffer):
        func.__self__.close()
        func.__self__.drops.report_final()
