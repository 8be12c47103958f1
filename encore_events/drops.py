"""The count of a stream's dropped events, reported once to its reader and once to its event manager.

No lock is acquired. The count is an iterator, from which each drop takes one item. Which thread reports how many is
decided by `dict.setdefault`, with which the first claim wins.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import sys
import weakref
from collections.abc import Callable
from typing import NamedTuple

from encore_events import forks
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.reporting import Emitter, Reporting, report_missing

PAUSE = 1.0  # seconds between two reports to the event manager while drops go on
_reporting = Reporting()
"""On while drops are reported. Drops that a report causes are reported later, so reports don't cause reports."""


class Drops:
    """The number of events that a stream has dropped, and the numbers reported.

    Attributes:
        stream: a weak reference to the stream.
        left: an iterator; each drop takes one item of it, atomically with the removal of the event.
        has_pending: whether drops may be unreported to the event manager.
    """

    def __init__(self, stream: object, manager: Emitter, name: str, clock: Callable[[], float]) -> None:
        """Start at zero; `stream`, held weakly, is the source of the reports."""
        self.left = itertools.repeat(None, sys.maxsize)
        self.has_pending = False
        self.stream = weakref.ref(stream)
        self._process = forks.current
        self._manager = manager
        self._name = name
        self._clock = clock
        self._due = -math.inf
        self._reported_to_reader = _Claims()
        self._reported_to_manager = _Claims()

    @property
    def total(self) -> int:
        """The number of dropped events."""
        return sys.maxsize - operator.length_hint(self.left)

    @property
    def has_unreported(self) -> bool:
        """True if some drops are unreported to the reader."""
        return self._reported_to_reader.total < self.total

    @property
    def left_when_reported(self) -> int:
        """The length of `left` as of the last report to the reader."""
        return sys.maxsize - self._reported_to_reader.total

    def claim_unreported(self, left: int) -> int:
        """Return how many drops are unreported as of a length of `left`; the caller must report them to the reader."""
        return self._reported_to_reader.claim(sys.maxsize - left)

    def notice(self, count: int) -> EventsDroppedEvent:
        """Return an event that reports `count` drops."""
        return EventsDroppedEvent(source=self.stream(), queue=self._name, reason="full", count=count)

    def is_notice(self, event: BaseEvent) -> bool:
        """Return whether `event` reports drops of this very stream."""
        return type(event) is EventsDroppedEvent and event.source is self.stream()

    def report_paced(self) -> None:
        """Report to the event manager at the first drop, then once in PAUSE. The emitter calls this after a drop."""
        self.has_pending = True
        now = self._clock()
        if now >= self._due and not _reporting.is_on:
            self._report(now, PAUSE)

    def report_pending(self) -> None:
        """Report all unreported drops to the event manager. The reader calls this."""
        if not _reporting.is_on:
            self.has_pending = False
            self.report_final()

    def report_final(self) -> None:
        """Do the same at the end of the stream, even during another report: no later call would."""
        self._report(self._clock(), 0)

    def _report(self, now: float, pause: float) -> None:
        if self._process is not forks.current:
            return  # the parent reports what was dropped before a fork
        count = self._reported_to_manager.claim(self.total, now, pause)
        if not count or self.stream() is None:
            return
        self._due = now + PAUSE
        _reporting.run(functools.partial(report_missing, self._manager, self.notice(count)))


class _Claim(NamedTuple):
    """A claim that all drops up to `total` are reported, and in `after` the next claim."""

    total: int
    at: float
    after: dict[str, _Claim]


class _Claims:
    """A chain of claims to report parts of a count. Of concurrent claims, the first one wins."""

    def __init__(self) -> None:
        self._last = _Claim(0, -math.inf, {})

    @property
    def total(self) -> int:
        return self._newest().total

    def claim(self, total: int, now: float = 0.0, pause: float = 0.0) -> int:
        """Return how many of `total` the caller must report: none within `pause` seconds of the last claim."""
        while True:
            last = self._newest()
            if last.total >= total or now - last.at < pause:
                return 0
            mine = _Claim(total, now, {})
            if last.after.setdefault("claim", mine) is mine:
                return total - last.total

    def _newest(self) -> _Claim:
        newest = self._last
        while newest.after:
            newest = newest.after["claim"]
        self._last = newest  # another thread may set it back to an older claim, from which the chain leads on
        return newest
