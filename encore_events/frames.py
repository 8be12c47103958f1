"""Events that wait in a queue: without the tracebacks of their errors, which keep frames and their variables alive."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from encore_events.copying import made_of, parts_of, set_state
from encore_events.events import BaseEvent
from encore_events.ids import id_of

E = TypeVar("E", bound=BaseException)
AnyEvent = TypeVar("AnyEvent", bound=BaseEvent)


def kept(event: AnyEvent) -> AnyEvent:
    """Return the event as it may wait in a queue: a copy if it has errors with tracebacks.

    Attributes with other names than `error` are searched only while an exception is being handled.
    """
    if event.__dict__.get("error") is None and sys.exception() is None:
        return event
    try:
        return _kept(event)
    except Exception:  # noqa: BLE001 (a class of errors that can't be copied; the event is worth more than the memory)
        return event


def _kept(event: AnyEvent) -> AnyEvent:
    changed = dict[str, object]()
    for name, value in list(event.__dict__.items()):
        if isinstance(value, BaseException):
            changed[name] = without_frames(value)
        elif isinstance(value, BaseEvent):
            changed[name] = _kept(value)
    if all(value is event.__dict__[name] for name, value in changed.items()):
        return event
    id_of(event)  # the copy has the same
    return set_state(BaseEvent.__copy__(event), changed)


def without_frames(error: E) -> E:
    """Return the error without its traceback, which keeps frames and their variables alive; a copy if it has one.

    The tracebacks of its causes, its contexts, and the errors among its attributes and arguments are left out as well.
    """
    return _without_frames(error, {}) if any(each.__traceback__ is not None for each in _connected(error)) else error


def _without_frames(error: E, copies: dict[int, BaseException]) -> E:
    if id(error) in copies:
        return cast("E", copies[id(error)])

    def copied(value: Any) -> Any:
        if isinstance(value, BaseException):
            return _without_frames(value, copies)
        return type(value)(map(copied, value)) if type(value) in {list, tuple} else value

    args, state = parts_of(error)
    made = copies[id(error)] = made_of(type(error), map(copied, args))
    set_state(made, {name: copied(value) for name, value in state.items()})
    made.__cause__, made.__context__ = copied(error.__cause__), copied(error.__context__)
    made.__suppress_context__ = error.__suppress_context__
    return made


def _connected(error: BaseException) -> list[BaseException]:
    """Return the error, and all that can be reached from it."""
    found = {id(error): error}
    waiting = [error]
    while waiting:
        for each in _nested(waiting.pop()):
            if id(each) not in found:
                found[id(each)] = each
                waiting.append(each)
    return list(found.values())


def _nested(error: BaseException) -> Iterator[BaseException]:
    args, state = parts_of(error)
    for value in (error.__cause__, error.__context__, *args, *state.values()):
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, BaseException):
                yield each
