"""What a stream has dropped: counted exactly, and told once to its reader and once to its event manager.

No lock is taken. The count is an iterator, of which each drop takes an item; who tells how much is settled
by `dict.setdefault`, which gives the first who comes the right to it.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import sys
import weakref
from collections.abc import Callable

from encore_events import forks
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.reporting import Emitter, Reporting, report_missing

PAUSE = 1.0
"""Seconds between two notices on the event manager while drops go on."""

_reporting = Reporting()
"""On inside a notice: what that makes others drop is told later, so no notice breeds notices."""


class Drops:
    """How many events a stream has dropped, and who has been told.

    Attributes:
        left: each drop takes one item of it, in one call into C together with the removal itself.
        has_pending: whether something may have to be told to the event manager.
    """

    def __init__(self, stream: object, manager: Emitter, name: str, clock: Callable[[], float]) -> None:
        """Begin at none; `stream` is the source of what is told, and not held."""
        self.left = itertools.repeat(None, sys.maxsize)
        self.has_pending = False
        self._stream = weakref.ref(stream)
        self._process = forks.current
        self._manager = manager
        self._name = name
        self._clock = clock
        self._due = -math.inf
        self._reported_to_reader = _Claims()
        self._reported_to_manager = _Claims()

    @property
    def stream(self) -> object:
        """The stream whose drops these are, or None once it was collected."""
        return self._stream()

    @property
    def total(self) -> int:
        """How many were dropped in all."""
        return sys.maxsize - operator.length_hint(self.left)

    @property
    def has_unreported(self) -> bool:
        """Whether the reader has yet to be told of some."""
        return self._reported_to_reader.total < self.total

    @property
    def left_when_reported(self) -> int:
        """How many were left of `left` when the reader was last told of some, or there were none to be told of."""
        return sys.maxsize - self._reported_to_reader.total

    def claim_unreported(self, left: int) -> int:
        """How many there were when `left` were left, as far as no reader was told; they are the caller's to tell."""
        return self._reported_to_reader.claim(sys.maxsize - left)

    def notice(self, count: int) -> EventsDroppedEvent:
        """The event that tells of `count`."""
        return EventsDroppedEvent(source=self._stream(), queue=self._name, reason="full", count=count)

    def is_notice(self, event: BaseEvent) -> bool:
        """Whether the event is one of those that tell of this very stream."""
        return type(event) is EventsDroppedEvent and event.source is self._stream()

    def report_paced(self) -> None:
        """Tell the event manager, at the first drop and then once in PAUSE. For the emitter, after a drop."""
        self.has_pending = True
        now = self._clock()
        if now >= self._due and not _reporting.is_on:
            self._report(now, PAUSE)

    def report_pending(self) -> None:
        """Tell the event manager what it hasn't been told. For the reader."""
        if not _reporting.is_on:
            self.has_pending = False
            self.report_final()

    def report_final(self) -> None:
        """The same for the end of the stream, which can't leave it to a later call."""
        self._report(self._clock(), 0)

    def _report(self, now: float, pause: float) -> None:
        if self._process is not forks.current:
            return  # what was dropped before a fork is the parent's to tell
        count = self._reported_to_manager.claim(self.total, now, pause)
        if not count or self._stream() is None:
            return
        self._due = now + PAUSE
        _reporting.run(functools.partial(report_missing, self._manager, self.notice(count)))


class _Claims:
    """How much of a count was told, as a chain of claims; a claim that is first in its place stands."""

    def __init__(self) -> None:
        self._last = _Claim(0, -math.inf)

    @property
    def total(self) -> int:
        return self._newest().total

    def claim(self, total: int, now: float = 0.0, pause: float = 0.0) -> int:
        """How many of `total` are the caller's to tell; none where the last claim is less than `pause` seconds old."""
        while True:
            last = self._newest()
            if last.total >= total or now - last.at < pause:
                return 0
            mine = _Claim(total, now)
            if last.after.setdefault("claim", mine) is mine:
                return total - last.total

    def _newest(self) -> _Claim:
        newest = self._last
        while newest.after:
            newest = newest.after["claim"]
        self._last = newest  # another thread may set it back; the chain leads on from there
        return newest


class _Claim:
    """That `total` were told at a time, and in `after` the claim that came next."""

    __slots__ = ("after", "at", "total")

    def __init__(self, total: int, at: float) -> None:
        self.total = total
        self.at = at
        self.after: dict[str, _Claim] = {}
