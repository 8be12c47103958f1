"""Telling what went wrong in a listener, without ever going wrong itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from encore_events.events import BaseEvent, EventsDroppedEvent, ListenerErrorEvent

logger = logging.getLogger("encore_events")

OnError = Callable[[BaseEvent, object, Exception], object]


class Inside:
    """A block that knows whether the caller is in it; what the block starts, and runs later than it, is not.

    Tasks and timers copy the context in which they are started, and go on with that when the block is over. So the
    context only refers to a mark, which the end of the block takes away.
    """

    def __init__(self, name: str) -> None:
        """Begin with nobody inside."""
        self._mark: ContextVar[_Mark | None] = ContextVar(name, default=None)

    def __bool__(self) -> bool:
        """Whether the caller is inside."""
        mark = self._mark.get()
        return mark is not None and mark.is_on

    def __enter__(self) -> None:
        """Be inside."""
        self._mark.set(_Mark(self._mark.get()))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Be where one was before."""
        mark = self._mark.get()
        if mark is not None:
            mark.is_on = False
            self._mark.set(mark.outer)


class _Mark:
    """That somebody is inside, and within which other block of the same kind."""

    __slots__ = ("is_on", "outer")

    def __init__(self, outer: _Mark | None) -> None:
        self.is_on = True
        self.outer = outer


_telling = Inside("encore_events_telling")


class Teller(Protocol):
    """What the telling of trouble asks of an event manager."""

    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        """Whether anyone listens to `cls`."""

    def emit(self, event: BaseEvent) -> object:
        """Dispatch `event`."""


def tell_listener_error(
    manager: Teller, on_error: OnError | None, event: BaseEvent, listener: object, error: Exception
) -> None:
    """Log the error, tell `on_error`, and emit a ListenerErrorEvent.

    What goes wrong while trouble is being told is only logged, so trouble about trouble ends there.
    """
    logger.error("listener %r failed for %r", listener, event, exc_info=error)
    if _telling:
        return
    with _telling:
        if on_error is not None:
            _call_on_error(on_error, event, listener, error)
        if manager.has_listeners(ListenerErrorEvent):
            manager.emit(ListenerErrorEvent(source=manager, event=event, listener=listener, error=error))


def tell_failure(manager: Teller, event: BaseEvent, listener: object, error: Exception) -> None:
    """Tell that a listener failed in a thread of its own, where nobody can be told what goes wrong then.

    An event that tells of such a failure itself is only logged, or there would be no end to it.
    """
    if isinstance(event, ListenerErrorEvent):
        logger.error("listener %r failed for %r", listener, event, exc_info=error)
        return
    try:
        tell_listener_error(manager, None, event, listener, error)
    except Exception:  # of a strict event manager
        logger.exception("telling that %r failed for %r failed", listener, event)


def tell_missing(manager: Teller, notice: EventsDroppedEvent) -> None:
    """Emit the notice for somebody who has no part in what its listeners do: what they raise is logged."""
    try:
        if manager.has_listeners(EventsDroppedEvent):
            manager.emit(notice)
    except Exception:
        logger.exception("telling of %d dropped events failed", notice.count)


def tell_dropped(manager: Callable[[], Teller | None], reason: str, count: int) -> None:
    """Log how many events the worker lost, and emit an EventsDroppedEvent where there still is a manager."""
    logger.warning("%d events were dropped by the worker at %s", count, reason)
    living = manager()
    if living is not None:
        living.emit(EventsDroppedEvent(source=living, queue="worker", reason=reason, count=count))


def _call_on_error(on_error: OnError, event: BaseEvent, listener: object, error: Exception) -> None:
    try:
        on_error(event, listener, error)
    except RecursionError:
        raise
    except Exception as trouble:
        logger.error("on_error %r failed for %r", on_error, event, exc_info=trouble)  # noqa: TRY400 (isolated as listeners are)
