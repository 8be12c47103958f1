"""Server-Sent Events: what a client reads, from where it left off, for as long as it stays.

The format is that of the HTML standard, section 9.2.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from encore_storage.codec import dumps
from encore_storage.server.activity import KEPT
from encore_storage.server.feed import EventFeed
from encore_storage.server.history import NOTHING, ToldUntil
from encore_storage.server.query import Position, Query
from encore_storage.server.ticker import Ticker

T = TypeVar("T", bound=tuple[Any, ...])

RETRY_MILLISECONDS = 1000
"""After how long a client that was cut off should try again."""

HEARTBEAT_SECONDS = 15.0
"""After how long without anything a comment is sent, so that proxies and clients know that the connection lives."""

TAIL = 20
"""How many new operations, and how many new failures, a summary tells."""

_RECENT_AT_FIRST = 50
_IN_FLIGHT = 50
_AT_ONCE = 250  # events: what a client that has fallen behind gets in one piece
_MOST_SHARED = 8 * 1024 * 1024  # bytes of what was made for one client and may serve others


class Piece(NamedTuple):
    """What to write next.

    Attributes:
        text: the messages; empty where none is for this client.
        number: after which event to go on.
        is_full: whether there is more to write at once.
    """

    text: bytes
    number: int
    is_full: bool


class SummaryCursor(NamedTuple):
    """What a client of summaries knows by now: how much of the history, of the operations and of the failures."""

    history: ToldUntil
    recent: int
    failures: int


class EventStreams:
    """The streams of all clients of one feed, written in step, so that what is the same for many is made once.

    Args:
        feed: what is told.
        ticker: when.
        monotonic: seconds, for heartbeats.
    """

    def __init__(self, feed: EventFeed, ticker: Ticker, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Make it for the loop that serves."""
        self._feed = feed
        self._ticker = ticker
        self._monotonic = monotonic
        self._made: dict[object, Any] = {}
        self._made_at = (-1, -1)
        self._made_bytes = 0

    def events(self, query: Query, position: Position | None) -> AsyncIterator[bytes]:
        """Each event that the query accepts, after the position; what the ring has no more is told as a gap.

        A client that reads slowly is not waited for: it goes on after a gap.
        """
        begin, number = self._begin(position)  # at once: from now on means from before the answer
        if position is not None and position.time is not None:
            query = replace(query, since=position.time)  # for what was emitted before, and still has to arrive
        return self._events(begin, query, number)

    def summaries(self, stores: tuple[str, ...], position: Position | None) -> AsyncIterator[bytes]:
        """The last ten minutes, then each second what has happened since; for the page."""
        begin, number = self._begin(position)
        resumes = position is not None and position.run == self._feed.run
        missed = self._feed.ring.after(number).missed if resumes else 0
        gap = self._gap(missed, "buffer", self._feed.ring.last) if missed else b""
        return self._summaries(begin + gap, stores)

    async def _events(self, begin: bytes, query: Query, number: int) -> AsyncIterator[bytes]:
        yield begin
        spoken, told = self._monotonic(), number
        while not self._ticker.closed:
            piece = self._once(("events", query, number), functools.partial(self._piece, query, number))
            number, text = piece.number, piece.text
            is_due = self._monotonic() - spoken >= HEARTBEAT_SECONDS
            if not text and (is_due or number - told >= self._feed.ring.capacity / 10):
                text = b": still here\nid: %b\n\n" % self._id(number)  # so that a resume finds its place
            if text:
                spoken, told = self._monotonic(), number
                yield text
            await (asyncio.sleep(0) if piece.is_full else self._ticker.next())

    async def _summaries(self, begin: bytes, stores: tuple[str, ...]) -> AsyncIterator[bytes]:
        yield begin
        text, seen = self._once(("history", stores), functools.partial(self._history, stores))
        yield text
        second = int(self._feed.clock())
        while not self._ticker.closed:
            await self._ticker.next()
            before, second = second, int(self._feed.clock())
            if second != before:
                text, seen = self._once(("summary", stores, seen), functools.partial(self._summary, stores, seen))
                yield text

    def _begin(self, position: Position | None) -> tuple[bytes, int]:
        """What every stream begins with, and the number after which it goes on."""
        begin, ring = b"retry: %d\n\n" % RETRY_MILLISECONDS, self._feed.ring
        if position is None:
            number = ring.last
            return begin + b"id: %b\n\n" % self._id(number), number  # or whoever is cut off at once could not resume
        if position.time is not None:
            number, is_all = ring.before(position.time)
            return begin + (b"" if is_all else self._gap(None, "buffer", number)), number
        if position.id is not None:
            found = ring.number_of(position.id)
            return (begin + self._gap(None, "buffer", 0), 0) if found is None else (begin, found)
        if position.run != self._feed.run:
            return begin + self._gap(None, "restart", 0), 0
        return begin, min(position.number, ring.last)

    def _piece(self, query: Query, number: int) -> Piece:
        found = self._feed.ring.after(number, _AT_ONCE)
        texts = []
        for event in found.events:
            if event.number > number + 1:
                texts.append(self._gap(event.number - number - 1, "buffer", event.number - 1))
            if query.accepts(event):
                texts.append(event.frame)
            number = event.number
        if number < found.last:
            texts.append(self._gap(found.last - number, "buffer", found.last))
        return Piece(b"".join(texts), found.last, found.last < self._feed.ring.last)

    def _history(self, stores: tuple[str, ...]) -> tuple[bytes, SummaryCursor]:
        return self._told("history", stores, SummaryCursor(NOTHING, 0, 0), (_RECENT_AT_FIRST, KEPT))

    def _summary(self, stores: tuple[str, ...], seen: SummaryCursor) -> tuple[bytes, SummaryCursor]:
        return self._told("summary", stores, seen, (TAIL, TAIL))

    def _told(
        self, event: str, stores: tuple[str, ...], seen: SummaryCursor, limits: tuple[int, int]
    ) -> tuple[bytes, SummaryCursor]:
        """What has happened since all that was seen, at most so many operations and failures; what is seen then."""
        feed, number = self._feed, self._feed.ring.last
        state = feed.state(stores, _IN_FLIGHT)
        recent, failures = feed.activity.recent, feed.activity.failures
        known = feed.history.told(state["now"])
        now_seen = SummaryCursor(known, recent.total, failures.total)  # before it is read: twice is better than never
        new_failures, omitted = failures.since(seen.failures, stores, limits[1])
        data = {
            **state,
            "run": feed.run,
            "seconds": feed.history.columns(state["now"], stores, seen.history),
            "recent": recent.since(seen.recent, stores, limits[0])[0],
            "failures": new_failures,
            "failures_omitted": omitted,
        }
        return self._message(event, number, data), now_seen

    def _gap(self, missed: int | None, reason: str, number: int) -> bytes:
        return self._message("gap", number, {"missed": missed, "reason": reason})

    def _message(self, event: str, number: int, data: object) -> bytes:
        return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), self._id(number), dumps(data))

    def _id(self, number: int) -> bytes:
        return self._feed.position(number).encode()

    def _once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gives, a text first; until the next tick or event, the same for everyone who asks with this key.

        That much is kept, and no more: clients that each are at another place would have a copy of the ring each.
        """
        now = self._ticker.count, self._feed.ring.last
        if self._made_at != now or self._made_bytes > _MOST_SHARED:
            self._made, self._made_at, self._made_bytes = {}, now, 0
        if key not in self._made:
            self._made[key] = make()
            self._made_bytes += len(self._made[key][0])
        made: T = self._made[key]
        return made
