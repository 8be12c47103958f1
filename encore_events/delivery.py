"""Emitting an event to all of its listeners, though an interrupt arrives meanwhile.

A KeyboardInterrupt, or whatever a signal handler raises, may come between any two steps of Python. So the next
listener is taken and called in one step of C (`next()` of a `map`), and the event keeps what is left to be called:
whoever was interrupted delivers the same event again, which goes on where it was broken off.

The attribute `_pending` of an event is missing as long as its delivery has not begun, and None when it is over.
"""

from __future__ import annotations

import dis
import operator
from collections.abc import Callable, Iterator
from itertools import repeat
from types import TracebackType
from typing import Any, cast

from encore_events.events import BaseEvent

__all__ = ["has_reached_any", "is_first_step"]

Call = Callable[[Any], object]
ReportCall = Callable[[BaseEvent, Call, Exception], object]

Pending = Iterator[object]
"""A `map` of `operator.call` over the listeners' calls and the event: each item that is taken makes one call."""

_RESUME = dis.opmap.get("RESUME", -1)  # with which a function begins, and where Python looks for signals
_WRAPPERS = "encore_events.listeners"  # the module of the functions that call a weakly held listener


def begin(event: BaseEvent, calls: tuple[Call, ...]) -> None:
    """Note which listeners the event has to reach. `EventManager.deliver` does the same by itself, for speed."""
    event.__dict__["_pending"] = map(operator.call, calls, repeat(event))


def resume(event: BaseEvent, report: ReportCall, error: BaseException | None = None) -> None:
    """Call the listeners that are left; what an interrupt of one of them raised is raised behind the last.

    Args:
        event: the event, whose delivery has begun.
        report: is given the event, a listener's call and the Exception that it raised.
        error: what has broken off the delivery just now.

    Raises:
        BaseException: whatever interrupted it first.
    """
    interrupt = None if error is None else _judged(event, report, error)
    while (pending := event.__dict__["_pending"]) is not None:
        try:
            for _ in pending:
                if event._handled:  # noqa: SLF001 (as above)
                    break
            event.__dict__["_pending"] = None
        except BaseException as another:  # noqa: BLE001 (listeners are isolated here, and interrupts raised below)
            interrupt = interrupt or _judged(event, report, another)
    if interrupt is not None:
        raise interrupt


def skip(event: BaseEvent) -> None:
    """Have the event count as delivered."""
    event.__dict__["_pending"] = None


def forget(event: BaseEvent) -> None:
    """Have the event count as one that was never delivered."""
    event.__dict__.pop("_pending", None)


def has_begun(event: BaseEvent) -> bool:
    """Return whether the delivery of the event has begun; it may be over as well."""
    return "_pending" in event.__dict__


def has_reached_any(event: BaseEvent) -> bool:
    """Return whether a listener was called."""
    if not has_begun(event):
        return False
    pending: Pending | None = event.__dict__["_pending"]
    if pending is None:
        return True
    calls, made, _ = _made(pending)
    return made > 0 or not calls


def _judged(event: BaseEvent, report: ReportCall, error: BaseException) -> BaseException | None:
    """ReportCall what a listener raised, and return an interrupt; where no stack is left, raise that at once."""
    pending: Pending = event.__dict__["_pending"]
    calls, made, left = _made(pending)
    if not made:  # it is no listener's: none was called yet, or all were
        return error
    was_begun = _was_begun(error)
    if isinstance(error, Exception) and not isinstance(error, RecursionError):
        report(event, calls[made - 1], error)
        return None
    if not was_begun:
        left.__setstate__(made - 1)  # the interrupt came before the listener's first step: it is called once more
        if isinstance(error, RecursionError):
            raise error
    return error


def _made(pending: Pending) -> tuple[tuple[Call, ...], int, Any]:
    """Return all calls, how many of them were made, and the iterator over them; no calls, if that is at its end."""
    _, (_, left, _) = cast("tuple[Any, tuple[Any, Any, Any]]", pending.__reduce__())  # how the `map` was made
    _, (calls,), *made = left.__reduce__()
    return calls, made[0] if made else len(calls), left


def _was_begun(error: BaseException) -> bool:
    """Return whether the listener that was called last took a step.

    What is further down in the traceback may be a signal handler.
    """
    inner = error.__traceback__ and error.__traceback__.tb_next
    while inner is not None and inner.tb_next is not None and inner.tb_frame.f_globals.get("__name__") == _WRAPPERS:
        inner = inner.tb_next
    if inner is None:
        return not isinstance(error, RecursionError)
    return not is_first_step(inner)


def is_first_step(traceback: TracebackType) -> bool:
    """Return whether a function was interrupted before its first line."""
    code = traceback.tb_frame.f_code.co_code
    return code[traceback.tb_lasti] == _RESUME
