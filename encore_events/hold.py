"""Holding events back until it is known whether they are true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self

from encore_events.events import BaseEvent
from encore_events.listeners import Filter, Listener
from encore_events.owner import Owner, current_owner
from encore_events.plan import Report, is_accepted
from encore_events.worker import EmitHandle

Queued = tuple[BaseEvent, EmitHandle | None]


class Holder(Protocol):
    """What a hold asks of the event manager that made it."""

    def begin_hold(self, hold: Hold) -> None:
        """Ask `hold` about every event from now on."""

    def end_hold(self, hold: Hold) -> None:
        """Ask it no longer."""

    def emit_held(self, event: BaseEvent, handle: EmitHandle | None) -> None:
        """Emit an event that is no longer held."""


class Hold:
    """The matching events of one thread or task, queued instead of dispatched; a context manager.

    Leaving the block without `release()` discards them. Made by `EventManager.hold`.
    """

    def __init__(self, manager: Holder, cls: type[BaseEvent], accepts: Callable[[BaseEvent], bool]) -> None:
        """Make the hold; it begins when the block is entered."""
        self.cls = cls
        self._manager = manager
        self._accepts = accepts
        self._owner: Owner | None = None
        self._queue: list[Queued] = []

    def __enter__(self) -> Self:
        """Begin to hold what the calling thread or task emits."""
        self._owner = current_owner()
        self._manager.begin_hold(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the hold; what wasn't released is discarded."""
        self.discard()

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._queue)

    def __bool__(self) -> bool:
        """A hold is a hold, even with nothing in it."""
        return True

    def __repr__(self) -> str:
        """What is held, and how many wait."""
        return f"<Hold: {len(self)} of {self.cls.__name__}>"

    def release(self) -> None:
        """End the hold and emit what was held, in order. Filters and `disable` apply now.

        Raises:
            ExceptionGroup: the manager is strict and listeners failed; all events were emitted first.
        """
        failures: list[Exception] = []
        queue = iter(self._end())
        try:
            for event, handle in queue:
                try:
                    self._manager.emit_held(event, handle)
                except ExceptionGroup as group:
                    failures.extend(group.exceptions)
        finally:
            _forget(queue)  # nothing is left of it, unless an interrupt came
        if failures:
            raise ExceptionGroup("listeners failed for released events", failures)

    def discard(self) -> None:
        """End the hold and forget what was held."""
        _forget(self._end())

    def covers(self, cls: type[BaseEvent], owner: Owner) -> bool:
        """Whether an event of `cls`, emitted by `owner`, may be held here."""
        return issubclass(cls, self.cls) and owner == self._owner

    def take(self, event: BaseEvent, owner: Owner, handle: EmitHandle | None) -> bool:
        """Queue the event if it is one to hold; whether it was."""
        if not self.covers(type(event), owner) or not self._accepts(event):
            return False
        self._queue.append((event, handle))
        return True

    def _end(self) -> list[Queued]:
        self._manager.end_hold(self)
        queue, self._queue = self._queue, []
        return queue


def taken(holds: Mapping[int, Hold], event: BaseEvent, handle: EmitHandle | None) -> bool:
    """Whether one of the holds has queued the event; the innermost is asked first."""
    if not holds:
        return False
    owner = current_owner()
    return any(hold.take(event, owner, handle) for hold in reversed(list(holds.values())))


def is_held(holds: Mapping[int, Hold], cls: type[BaseEvent]) -> bool:
    """Whether one of the holds may queue an event of `cls` that the caller emits."""
    owner = current_owner()
    return any(hold.covers(cls, owner) for hold in list(holds.values()))


def _forget(queue: Iterable[Queued]) -> None:
    for _event, handle in queue:
        if handle is not None:
            handle.finish()


def _hold(_: BaseEvent) -> None:
    """What is named when the filter of a hold fails; it is never called."""


def hold_filter(cls: type[BaseEvent], filter: Filter | None, report: Report) -> Callable[[BaseEvent], bool]:  # noqa: A002
    """What decides whether an event is held: the same filter that a listener has, isolated in the same way."""
    listener = Listener(
        cls, _hold, filter=filter, where=None, priority=0, weak=False, sequence=0, collected=lambda _: None
    )
    return lambda event: is_accepted(listener, event, report)
