"""Emitting an event to all of its listeners, though an interrupt arrives meanwhile.

A KeyboardInterrupt, or whatever a signal handler raises, may come between any two steps of Python. So the next listener
is taken and called in one step of C (`next()` of a `map`), and what is left to be called is kept with the event: whoever
was interrupted delivers the same event again, which goes on where it was broken off.
"""

from __future__ import annotations

import dis
import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from types import TracebackType
from typing import Any, NamedTuple

from encore_events.events import BaseEvent

Call = Callable[[Any], object]
Report = Callable[[Call, Exception], object]

_RESUME = dis.opmap.get("RESUME", -1)  # with which a function begins, and where Python looks for signals
_WRAPPERS = "encore_events.listeners"  # the module of the functions that call a weakly held listener


class Pending(NamedTuple):
    """The listeners that an event has yet to reach.

    Attributes:
        calls: all of them, in order.
        left: those that no call was begun for; takes from them are what `results` does.
        results: calls the next one for each item that is taken.
        has_reached_any: whether a listener was called before these.
    """

    calls: Sequence[Call]
    left: Iterator[Call]
    results: Iterator[object]
    has_reached_any: bool = False

    @classmethod
    def of(cls, event: BaseEvent, calls: Sequence[Call], *, has_reached_any: bool = False) -> Pending:
        """Begin with all of the calls."""
        left = iter(calls)
        return cls(calls, left, map(operator.call, left, repeat(event)), has_reached_any)


def begin(event: BaseEvent, calls: Sequence[Call]) -> None:
    """Note which listeners the event has to reach."""
    event.__dict__.setdefault("_pending", Pending.of(event, calls))


def skip(event: BaseEvent) -> None:
    """Have the event count as delivered."""
    event.__dict__["_pending"] = None


def forget(event: BaseEvent) -> None:
    """Have the event count as one that was never delivered."""
    event.__dict__.pop("_pending", None)


def has_begun(event: BaseEvent) -> bool:
    """Return whether the event was noted to be delivered; it may be over as well."""
    return "_pending" in event.__dict__


def has_reached_any(event: BaseEvent) -> bool:
    """Return whether a listener was called."""
    if not has_begun(event):
        return False
    pending: Pending | None = event.__dict__["_pending"]
    return pending is None or pending.has_reached_any or operator.length_hint(pending.left) < len(pending.calls)


def finish(event: BaseEvent, report: Report) -> None:
    """Call the listeners that are left; what an interrupt of one of them raised is raised behind the last.

    Args:
        event: the event; `begin` was called for it.
        report: is given a listener's call and the Exception that it raised.

    Raises:
        BaseException: whatever interrupted it first.
    """
    interrupt: BaseException | None = None
    while (pending := event.__dict__["_pending"]) is not None:
        try:
            for _ in pending.results:
                if event._handled:  # noqa: SLF001 (the property would cost as much as a listener)
                    break
            event.__dict__["_pending"] = None  # the iterators hold the event, which would hold them
        except RecursionError as error:
            if _was_begun(error, pending):
                interrupt = interrupt or error
                continue
            _put_back(event, pending)
            raise
        except Exception as error:  # noqa: BLE001 (listeners are isolated here)
            report(_latest(pending), error)
        except BaseException as error:  # noqa: BLE001 (it is raised below)
            interrupt = interrupt or error
            if not _was_begun(error, pending):
                _put_back(event, pending)
    if interrupt is not None:
        raise interrupt


def _latest(pending: Pending) -> Call:
    return pending.calls[len(pending.calls) - operator.length_hint(pending.left) - 1]


def _put_back(event: BaseEvent, pending: Pending) -> None:
    """Have the latest listener called once more: the interrupt came before its first step."""
    calls = (_latest(pending), *pending.left)
    has_reached_any = pending.has_reached_any or len(calls) < len(pending.calls)
    event.__dict__["_pending"] = Pending.of(event, calls, has_reached_any=has_reached_any)


def _was_begun(error: BaseException, pending: Pending) -> bool:
    """Return whether the listener that was called last took a step, or none was called.

    What is further down in the traceback may be a signal handler.
    """
    inner = error.__traceback__ and error.__traceback__.tb_next
    while inner is not None and inner.tb_next is not None and inner.tb_frame.f_globals.get("__name__") == _WRAPPERS:
        inner = inner.tb_next
    if inner is None:
        return not isinstance(error, RecursionError) or _is_at_start(pending)
    return not _is_first_step(inner)


def _is_at_start(pending: Pending) -> bool:
    return operator.length_hint(pending.left) == len(pending.calls)


def _is_first_step(traceback: TracebackType) -> bool:
    code = traceback.tb_frame.f_code.co_code
    return code[traceback.tb_lasti] == _RESUME


