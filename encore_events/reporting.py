"""Reports of errors in listeners and of dropped events. Reporting itself never raises to the emitter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from encore_events.events import BaseEvent, EventsDroppedEvent, ListenerErrorEvent
from encore_events.loggers import get_logger, show_uncaught
from encore_events.owner import current_loop
from encore_events.recursion import dispatches, recurses

__all__ = ["report_failure", "report_missing"]

logger = get_logger("encore_events")

OnError = Callable[[BaseEvent, object, Exception], object]


class Reporting(threading.local):
    """A flag of the calling thread, on while it reports.

    It is no ContextVar, because setting one allocates. The garbage collector may then run a finalizer that sets it as
    well, which crashes CPython 3.11. And tasks and timers started meanwhile would have it on for ever.
    """

    is_on = False

    def run(self, job: Callable[[], object]) -> None:
        """Run `job` with the flag on."""
        before = self.is_on
        try:
            self.is_on = True  # within the `try`: an interrupt must not leave it on
            job()
        finally:
            self.is_on = before


_reporting = Reporting()
run_as_reporting = _reporting.run
_reporting_task: ContextVar[asyncio.Task[Any] | None] = ContextVar("encore_events_reporting_task", default=None)
"""The task whose listeners handle a report. Tasks that it starts inherit the value, but aren't that task."""


class Emitter(Protocol):
    """The part of an event manager that reporting needs."""

    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        """Return whether anyone listens to `cls`."""

    def emit(self, event: BaseEvent) -> object:
        """Dispatch `event`."""


def report_listener_error(
    manager: Emitter, on_error: OnError | None, event: BaseEvent, listener: object, error: Exception
) -> None:
    """Log `error`, call `on_error`, and emit a ListenerErrorEvent.

    Errors that happen during a report are only logged, and those that happen while a line is logged are only shown by
    `threading.excepthook`, so there is no recursion.
    """
    if logger.is_logging():
        show_uncaught(error)  # the line could fail again, and again, in a handler that emits
    else:
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
    """Return whether the caller runs as part of a report, on the worker or in a coroutine listener included."""
    if _reporting.is_on:
        return True
    task = _reporting_task.get()
    return task is not None and current_loop() is not None and asyncio.current_task() is task


def mark_task_as_reporting() -> None:
    """Make the rest of the running task part of a report."""
    _reporting_task.set(asyncio.current_task())


def report_failure(manager: Emitter, event: BaseEvent, listener: object, error: Exception) -> None:
    """Report an error of a listener that works in a thread of its own. Never raises an Exception.

    If `event` is a ListenerErrorEvent, the error is only logged, so there is no recursion.
    """
    if isinstance(event, ListenerErrorEvent):
        logger.error("listener %r failed for %r", listener, event, exc_info=error)
        return
    try:
        report_listener_error(manager, None, event, listener, error)
    except Exception:  # from a strict event manager
        logger.exception("could not report that %r failed for %r", listener, event)


def report_missing(manager: Emitter, notice: EventsDroppedEvent) -> None:
    """Emit `notice`, and only log what its listeners raise."""
    try:
        if manager.has_listeners(EventsDroppedEvent):
            manager.emit(notice)
    except Exception:
        logger.exception("could not report %d dropped events", notice.count)


def report_dropped(manager: Callable[[], Emitter | None], reason: str, count: int) -> None:
    """Log how many events the worker dropped, and emit an EventsDroppedEvent if the manager is still alive."""
    logger.warning("the worker dropped %d events at %s", count, reason)
    living = manager()
    if living is not None:
        living.emit(EventsDroppedEvent(source=living, queue="worker", reason=reason, count=count))


@dispatches
def _call_on_error(on_error: OnError, event: BaseEvent, listener: object, error: Exception) -> None:
    try:
        on_error(event, listener, error)
    except Exception as failure:
        if recurses(failure):
            raise
        logger.exception("on_error %r failed for %r", on_error, event)
