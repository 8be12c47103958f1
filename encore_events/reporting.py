"""Reporting what went wrong in a listener, without ever going wrong itself."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from encore_events.events import BaseEvent, EventsDroppedEvent, ListenerErrorEvent
from encore_events.owner import current_loop

__all__ = ["report_failure", "report_missing"]

logger = logging.getLogger("encore_events")

OnError = Callable[[BaseEvent, object, Exception], object]


class Reporting(threading.local):
    """Whether the calling thread is just telling something.

    No ContextVar: setting one allocates, and what a garbage collection then finds may set it as well, which crashes
    CPython 3.11. Nor would a task or a timer that is started meanwhile ever be without it again.
    """

    is_on = False

    def run(self, job: Callable[[], object]) -> None:
        """Do the job, and have it on meanwhile."""
        before = self.is_on
        try:
            self.is_on = True  # within the `try`: an interrupt must not leave it on
            job()
        finally:
            self.is_on = before


_reporting = Reporting()
_reporting_task: ContextVar[asyncio.Task[Any] | None] = ContextVar("encore_events_reporting_task", default=None)
"""Which task hears of trouble; those that it starts have it in their context, too, but aren't that."""


class Emitter(Protocol):
    """What the telling of trouble asks of an event manager."""

    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        """Whether anyone listens to `cls`."""

    def emit(self, event: BaseEvent) -> object:
        """Dispatch `event`."""


def report_listener_error(
    manager: Emitter, on_error: OnError | None, event: BaseEvent, listener: object, error: Exception
) -> None:
    """Log the error, tell `on_error`, and emit a ListenerErrorEvent.

    What goes wrong while trouble is being told is only logged, so trouble about trouble ends there.
    """
    logger.error("listener %r failed for %r", listener, event, exc_info=error)
    if is_reporting():
        return

    def report() -> None:
        if on_error is not None:
            _call_on_error(on_error, event, listener, error)
        if manager.has_listeners(ListenerErrorEvent):
            manager.emit(ListenerErrorEvent(source=manager, event=event, listener=listener, error=error))

    _reporting.run(report)


def is_reporting() -> bool:
    """Whether the caller is told of trouble just now, as a listener, on the worker, or as a coroutine listener."""
    if _reporting.is_on:
        return True
    task = _reporting_task.get()
    return task is not None and current_loop() is not None and asyncio.current_task() is task


def mark_task_as_reporting() -> None:
    """Have the running task count as one that is told of trouble, to its end."""
    _reporting_task.set(asyncio.current_task())


def run_as_reporting(job: Callable[[], object]) -> None:
    """Do the job, of which all counts as being told of trouble."""
    _reporting.run(job)


def report_failure(manager: Emitter, event: BaseEvent, listener: object, error: Exception) -> None:
    """Tell that a listener failed in a thread of its own, where nobody can be told what goes wrong then.

    An event that tells of such a failure itself is only logged, or there would be no end to it.
    """
    if isinstance(event, ListenerErrorEvent):
        logger.error("listener %r failed for %r", listener, event, exc_info=error)
        return
    try:
        report_listener_error(manager, None, event, listener, error)
    except Exception:  # of a strict event manager
        logger.exception("telling that %r failed for %r failed", listener, event)


def report_missing(manager: Emitter, notice: EventsDroppedEvent) -> None:
    """Emit the notice for somebody who has no part in what its listeners do: what they raise is logged."""
    try:
        if manager.has_listeners(EventsDroppedEvent):
            manager.emit(notice)
    except Exception:
        logger.exception("telling of %d dropped events failed", notice.count)


def report_dropped(manager: Callable[[], Emitter | None], reason: str, count: int) -> None:
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
