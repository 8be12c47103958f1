"""Server-Sent Events streams, which clients can resume.

The format is that of the HTML standard, section 9.2.
"""

from __future__ import annotations

import asyncio
import functools
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from encore_storage.codec import dumps
from encore_storage.processes.identity import program_name
from encore_storage.server.feed import EventFeed
from encore_storage.server.query import Position, Query
from encore_storage.server.recent import KEPT
from encore_storage.server.ticker import Ticker
from encore_storage.server.view import ViewCursor

T = TypeVar("T", bound=tuple[Any, ...])

RETRY_MILLISECONDS = 1000  # the delay after which a client should reconnect
HEARTBEAT_SECONDS = 15.0  # the longest silence before a comment is sent, for proxies and clients with a timeout
TAIL = 20  # new operations in a summary at most, and as many new failures
MEMBERS_SECONDS = 0.2  # after a second, until the other processes have sent its counts
_RECENT_IN_HISTORY = 50
_IN_FLIGHT = 50
_MAX_BATCH = 250  # events for a client that is behind
_MAX_CACHE = 8 * 1024 * 1024  # bytes of messages that clients share


class Piece(NamedTuple):
    """The next part of a stream.

    Attributes:
        text: the messages; empty if the query accepts none.
        number: the number of the event after which the stream continues.
        has_more: whether more can be written without waiting.
    """

    text: bytes
    number: int
    has_more: bool


class Selection(NamedTuple):
    """The stores and the processes that a client of summaries has selected; by default, all."""

    stores: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()


class SummaryCursor(NamedTuple):
    """The part of the state that a client of summaries has, and the version of the processes that it knows."""

    view: ViewCursor = ViewCursor()
    members: int = -1


class EventStreams:
    """The streams of all clients of a feed. They advance in step, and share messages that are the same."""

    def __init__(self, feed: EventFeed, ticker: Ticker, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._feed = feed
        self._ticker = ticker
        self._monotonic = monotonic
        self._cache: dict[object, Any] = {}
        self._cache_key = (-1, -1)
        self._cache_bytes = 0

    def events(self, query: Query, position: Position | None) -> AsyncIterator[bytes]:
        """Return a stream of the events that the query accepts after the position, with gaps for those no longer held.

        Nothing is buffered for a slow client: it continues after a gap.
        """
        begin, number = self._begin(position)  # now, not at the first read: the client asked for events from now on
        if position is not None and position.time is not None:
            query = replace(query, since=position.time)  # events emitted before may still be on their way to the ring
        return self._events(begin, query, number)

    def summaries(self, selection: Selection, position: Position | None) -> AsyncIterator[bytes]:
        """Return a stream of the last ten minutes, then a summary each second; for the page."""
        begin, number = self._begin(position)
        resumes = position is not None and position.run == self._feed.run
        missed = self._feed.ring.after(number).missed if resumes else 0
        gap = self._gap(missed, "buffer", self._feed.ring.last) if missed else b""
        return self._summaries(begin + gap, selection)

    async def _events(self, begin: bytes, query: Query, number: int) -> AsyncIterator[bytes]:
        yield begin
        sent_at, sent_number = self._monotonic(), number
        while True:
            is_last = self._ticker.closed  # read before the ring, so that the last piece has all events
            piece = self._cached(("events", query, number), functools.partial(self._piece, query, number))
            number, text = piece.number, piece.text
            is_due = self._monotonic() - sent_at >= HEARTBEAT_SECONDS
            if not text and (is_due or number - sent_number >= self._feed.ring.capacity / 10):
                text = b": still here\nid: %b\n\n" % self._id(number)  # a client that resumes starts from here
            if text:
                sent_at, sent_number = self._monotonic(), number
                yield text
            if is_last and not piece.has_more:
                return
            await (asyncio.sleep(0) if piece.has_more else self._ticker.next())

    async def _summaries(self, begin: bytes, selection: Selection) -> AsyncIterator[bytes]:
        yield begin
        limits = _RECENT_IN_HISTORY, KEPT
        make = functools.partial(self._snapshot, "history", selection, SummaryCursor(), limits)
        text, seen = self._cached(("history", selection), make)
        yield text
        second = self._second()
        while not self._ticker.closed:
            await self._ticker.next()
            before, second = second, self._second()
            if second != before:
                make = functools.partial(self._snapshot, "summary", selection, seen, (TAIL, TAIL))
                text, seen = self._cached(("summary", selection, seen), make)
                yield text
        make = functools.partial(self._snapshot, "summary", selection, seen, (TAIL, TAIL), is_last=True)
        text, seen = self._cached(("last", selection, seen), make)
        yield text

    def _second(self) -> int:
        """Return the number of the second whose beginning calls for a summary."""
        return int(self._feed.clock() - (MEMBERS_SECONDS if self._feed.members.running else 0.0))

    def _begin(self, position: Position | None) -> tuple[bytes, int]:
        """Return the first messages of a stream, and the number after which it continues."""
        begin, ring = b"retry: %d\n\n" % RETRY_MILLISECONDS, self._feed.ring
        if position is None:
            number = ring.last
            # With an id, so that a client can resume before its first event.
            return begin + b"id: %b\n\n" % self._id(number), number
        if position.time is not None:
            number, is_all = ring.before(position.time)
            return begin + (b"" if is_all else self._gap(None, "buffer", number)), number
        if position.id is not None:
            found = ring.number_of(position.id)
            return (begin + self._gap(None, "buffer", 0), 0) if found is None else (begin, found)
        if position.run != self._feed.run:
            return begin + self._break(position.run), 0
        return begin, min(position.number, ring.last)

    def _break(self, run: str | None) -> bytes:
        """Return the message for a client that another process has served, maybe of an earlier run of the program."""
        if run not in self._feed.former_runs:
            return self._gap(None, "restart", 0)
        pid = self._feed.own.process.pid
        return self._message("gap", 0, {"missed": None, "reason": "handover", "process": pid})

    def _piece(self, query: Query, number: int) -> Piece:
        found = self._feed.ring.after(number, _MAX_BATCH)
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

    def _snapshot(
        self, event: str, selection: Selection, seen: SummaryCursor, limits: tuple[int, int], *, is_last: bool = False
    ) -> tuple[bytes, SummaryCursor]:
        """Return a message with everything new since `seen`, and the cursor after it.

        The last message of a stream is dated to the end of the current second, which would be missing otherwise.
        """
        feed, number, members = self._feed, self._feed.ring.last, self._feed.members.version
        view = feed.view(selection.processes)
        state = view.current(selection.stores, _IN_FLIGHT)
        if is_last:
            state["now"] = math.floor(state["now"]) + 1.0
        # Made before the reads below: what is added meanwhile is sent twice rather than never.
        cursor = view.cursor(state["now"])
        failures, omitted = view.failures(seen.view.failures, selection.stores, limits[1])
        data = {
            **state,
            "run": feed.run,
            "seconds": view.columns(state["now"], selection.stores, seen.view.history),
            "recent": view.recent(seen.view.recent, selection.stores, limits[0])[0],
            "failures": failures,
            "failures_omitted": omitted,
        }
        if members != seen.members:
            data["processes"] = feed.processes()
            data["program"] = {"name": program_name(), "host": socket.gethostname()}
        return self._message(event, number, data), SummaryCursor(cursor, members)

    def _gap(self, missed: int | None, reason: str, number: int) -> bytes:
        return self._message("gap", number, {"missed": missed, "reason": reason})

    def _message(self, event: str, number: int, data: object) -> bytes:
        return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), self._id(number), dumps(data))

    def _id(self, number: int) -> bytes:
        return self._feed.position(number).encode()

    def _cached(self, key: object, make: Callable[[], T]) -> T:
        """Return the result of `make`, a tuple with a text first, and cache it until the next tick or event.

        The cache is bounded: otherwise clients at different positions would have a copy of the ring each.
        """
        now = self._ticker.count, self._feed.ring.last
        if self._cache_key != now or self._cache_bytes > _MAX_CACHE:
            self._cache, self._cache_key, self._cache_bytes = {}, now, 0
        if key not in self._cache:
            self._cache[key] = make()
            self._cache_bytes += len(self._cache[key][0])
        result: T = self._cache[key]
        return result
