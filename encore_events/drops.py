"""The notices of a stream's dropped events, for its reader and for its event manager."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable

from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.reporting import Emitter, Reporting, report_missing

PAUSE = 1.0  # seconds between two reports to the event manager while drops go on
_reporting = Reporting()
"""On while drops are reported. Drops that a report causes are reported later, so reports don't cause reports."""


class Drops:
    """The reports of a stream's drops.

    Attributes:
        stream: a weak reference to the stream.
        clock: paces the reports to the event manager, in seconds.
    """

    def __init__(self, stream: object, manager: Emitter, name: str, clock: Callable[[], float]) -> None:
        """Make it for `stream`, which is held weakly and is the source of the reports."""
        self.stream = weakref.ref(stream)
        self.clock = clock
        self._manager = manager
        self._name = name

    def is_reporting(self) -> bool:
        """Return whether the caller runs within a report of drops, of any stream."""
        return _reporting.is_on

    def notice(self, count: int) -> EventsDroppedEvent:
        """Return an event that reports `count` drops."""
        return EventsDroppedEvent(source=self.stream(), queue=self._name, reason="full", count=count)

    def is_notice(self, event: BaseEvent) -> bool:
        """Return whether `event` reports drops of this very stream."""
        return type(event) is EventsDroppedEvent and event.source is self.stream()

    def report(self, count: int) -> None:
        """Report `count` drops to the event manager, unless the stream has been collected."""
        if self.stream() is not None:
            _reporting.run(functools.partial(report_missing, self._manager, self.notice(count)))
