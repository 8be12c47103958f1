"""Delivery of an event to all of its listeners in spite of interrupts.

A KeyboardInterrupt, or any exception from a signal handler, may come between any two steps of Python. So choosing and
calling the next listener is one call into C (`next()` of a `map`), and the event keeps the remaining calls. Delivering
an interrupted event again resumes there.

An event's attribute `_pending` is missing before its delivery begins, and None when it is over.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from types import CodeType, TracebackType

from encore_events.events import BaseEvent
from encore_events.pending import Call, Pending, state_of
from encore_events.recursion import dispatches, recurses

__all__ = ["has_reached_any", "is_first_step"]

ReportCall = Callable[[BaseEvent, Call, Exception], object]

_RESUME = dis.opmap.get("RESUME", -1)  # a function's first instruction, at which Python handles signals
_WRAPPERS = "encore_events.listeners"  # the module of the functions that call a weakly held listener


@dispatches
def resume(event: BaseEvent, report: ReportCall, error: BaseException | None = None) -> None:
    """Make the remaining calls, then raise the first interrupt among what they raised.

    Args:
        event: an event whose delivery has begun.
        report: called with the event, a listener's call and the Exception that it raised.
        error: the exception that has just broken off the delivery.
    """
    interrupt = None if error is None else _interrupt_in(event, report, error)
    while (pending := event.__dict__["_encore_pending"]) is not None:
        try:
            for _ in pending:
                if event._handled:  # noqa: SLF001 (the bus's own)
                    break
            event.__dict__["_encore_pending"] = None
        except BaseException as another:  # noqa: BLE001 (listeners are isolated here, and interrupts raised below)
            interrupt = interrupt or _interrupt_in(event, report, another)
    if interrupt is not None:
        raise interrupt


def skip(event: BaseEvent) -> None:
    """Mark the event as delivered."""
    event.__dict__["_encore_pending"] = None


def forget(event: BaseEvent) -> None:
    """Mark the event as never delivered."""
    event.__dict__.pop("_encore_pending", None)


def has_begun(event: BaseEvent) -> bool:
    """Return whether the event's delivery has begun or is over."""
    return "_encore_pending" in event.__dict__


def has_reached_any(event: BaseEvent) -> bool:
    """Return whether a listener of the event was called."""
    if not has_begun(event):
        return False
    pending: Pending | None = event.__dict__["_encore_pending"]
    if pending is None:
        return True
    calls, made, _ = state_of(pending)
    return made > 0 or not calls


def _interrupt_in(event: BaseEvent, report: ReportCall, error: BaseException) -> BaseException | None:
    """Report a listener's error and return None, or return an interrupt. Raise it at once where no stack is left."""
    pending: Pending = event.__dict__["_encore_pending"]
    calls, made, remaining = state_of(pending)
    if not made:  # no listener raised it: none was called yet, or all were
        return error
    call = calls[made - 1]
    was_begun = _was_begun(error, call)
    if isinstance(error, Exception) and not (isinstance(error, RecursionError) and (not was_begun or recurses(error))):
        report(event, call, error)
        return None
    if not was_begun:
        remaining.__setstate__(made - 1)  # the interrupt came before the listener's first step: call it again
        if isinstance(error, RecursionError):
            raise error
    return error


def _was_begun(error: BaseException, call: Call) -> bool:
    """Return whether the last listener called took a step. Deeper frames may be those of a signal handler."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    while inner is not None and inner.tb_next is not None and inner.tb_frame.f_globals.get("__name__") == _WRAPPERS:
        inner = inner.tb_next
    if inner is None:
        return not isinstance(error, RecursionError) or not isinstance(getattr(call, "__code__", None), CodeType)
    return not is_first_step(inner)


def is_first_step(traceback: TracebackType) -> bool:
    """Return whether the function was interrupted before its first line."""
    code = traceback.tb_frame.f_code.co_code
    return code[traceback.tb_lasti] == _RESUME
