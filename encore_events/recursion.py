"""The distinction between a listener that fails by a RecursionError and a bus that recurses.

The first is the listener's own failure. In the second, each listener further up the stack would go on and recurse
again, so the error has to reach the first emitter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar

from encore_events.pending import state_of

F = TypeVar("F", bound=Callable[..., object])

_FOREIGN = ("call", "trace", "on_error", "listener")
"""The variables of the functions marked by `dispatches` that hold the function or listener being called."""

_codes = set[CodeType]()


def dispatches(func: F) -> F:
    """Mark a function that calls listeners, filters or hooks."""
    _codes.add(func.__code__)
    return func


def recurses(error: BaseException) -> bool:
    """Return whether `error`, which the caller has caught, shows that the bus recurses.

    It does if a RecursionError came through a nested emit, or if the listener that failed also runs further up the
    stack. The caller must be marked by `dispatches`.
    """
    caught = error.__traceback__
    if not isinstance(error, RecursionError) or caught is None:
        return False
    return _came_through_dispatch(caught) or _runs_further_up(caught.tb_frame)


def _came_through_dispatch(entry: TracebackType) -> bool:
    """Return whether the error left another marked function before the one of `entry`."""
    while entry.tb_next is not None:
        outer, entry = entry.tb_frame, entry.tb_next
        if not _called_by(outer, entry.tb_frame):  # of an earlier raise of the same object
            return False
        if entry.tb_frame.f_code in _codes:
            return True
    return False


def _called_by(outer: FrameType, inner: FrameType) -> bool:
    """Return whether `outer` may have called `inner`; coroutines and generators that have ended don't show it."""
    if inner.f_back is not None:
        return inner.f_back is outer
    return not inner.f_code.co_flags & inspect.CO_COROUTINE or bool(outer.f_code.co_flags & inspect.CO_COROUTINE)


def _runs_further_up(frame: FrameType) -> bool:
    """Return whether the function that is being called in `frame` is also being called further up the stack."""
    ours = frame.f_locals
    failing = _foreign(ours)
    above = frame.f_back
    while above is not None:
        if above.f_code in _codes:
            theirs = above.f_locals
            is_same_delivery = "pending" in ours and theirs.get("pending") is ours["pending"]
            if not is_same_delivery and _foreign(theirs) is failing is not None:
                return True
        above = above.f_back
    return False


def _foreign(variables: Mapping[str, Any]) -> object:
    """Return the function or listener that is being called, or None."""
    if "pending" in variables:
        calls, made, _ = state_of(variables["pending"])
        return calls[made - 1] if made else None
    return next((variables[name] for name in _FOREIGN if name in variables), None)
