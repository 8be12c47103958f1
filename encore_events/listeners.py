"""Connected listeners: their identity, how they are held, which events they accept."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from encore_events.conditions import Condition, check_filter
from encore_events.errors import InvalidListenerError
from encore_events.events import BaseEvent

__all__ = ["FIRST", "qualified_name"]

FIRST = math.inf
"""The priority of listeners that only observe: they see an event before another can veto it."""

_sequence = itertools.count()
_BUILTIN_METHODS = (types.BuiltinMethodType, types.MethodWrapperType)
_NOT_WEAKLY = "it does not support weak references; pass weak=False to hold it strongly"


def identity_of(func: Callable[..., object]) -> Hashable:
    """Return a key that is equal for the same listener, whatever its `==` and hash say.

    Each look-up of a method makes a new object, so its key is that of its function and its instance.
    """
    if isinstance(func, types.MethodType):
        return id(func.__func__), id(func.__self__)
    if isinstance(func, _BUILTIN_METHODS) and func.__self__ is not None:
        return func.__name__, id(func.__self__)
    return id(func)


def qualified_name(listener: object) -> str:
    """Return the module and name of a function, unwrapping partials, or of any other object's class."""
    while isinstance(listener, functools.partial):
        listener = listener.func
    named = listener if hasattr(listener, "__qualname__") else type(listener)
    return f"{named.__module__}.{named.__qualname__}"


def is_coroutine_listener(func: Callable[..., object]) -> bool:
    """Return whether calling `func` returns a coroutine: partials and async `__call__` included."""
    while isinstance(func, functools.partial):
        func = func.func
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


class Listener:
    """An immutable record of one connection.

    Attributes:
        key: of the connections with equal keys in one signal, only the latest exists.
        identity: the identity of the function.
        call: calls the function with an event; does nothing if the function was held weakly and collected.
        sequence: the position in the order of all connects.
    """

    def __init__(
        self,
        cls: type[BaseEvent],
        func: Callable[..., object],
        condition: Condition,
        *,
        priority: float = 0,
        weak: bool | None = None,
        collected: Callable[[Listener], object] | None = None,
    ) -> None:
        """Make the record; `collected` is called with it when a weakly held function is collected."""
        self.cls = cls
        self.key = self.identity = identity_of(func)
        self.condition = condition
        self.priority = priority
        self.sequence = next(_sequence)
        self.is_coroutine = is_coroutine_listener(func)
        is_weak = isinstance(func, types.MethodType) if weak is None else weak
        died = functools.partial(_notify_collected, weakref.ref(self), collected)
        self._held = _held_weakly(func, died) if is_weak else func
        self.call = self._call_of(self._held)

    @property
    def func(self) -> Callable[..., object] | None:
        """The connected function, or None once it was collected."""
        return self._held.get() if isinstance(self._held, _Weak) else self._held

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.func!r} to {self.cls.__name__}, priority {self.priority}>"

    @staticmethod
    def _call_of(held: Callable[..., object] | _Weak) -> Callable[[BaseEvent], object]:
        return _weak_call(held) if isinstance(held, _Weak) else held


class Receiver(Listener):
    """A connection made by a signal: the function is called with the source of an event and `event=`."""

    def __init__(
        self,
        cls: type[BaseEvent],
        func: Callable[..., object],
        condition: Condition,
        *,
        key: Hashable,
        weak: bool,
        collected: Callable[[Listener], object],
    ) -> None:
        super().__init__(cls, func, condition, weak=weak, collected=collected)
        self.key = key

    @staticmethod
    def _call_of(held: Callable[..., object] | _Weak) -> Callable[[BaseEvent], object]:
        def call_receiver(event: BaseEvent) -> object:
            func = held.get() if isinstance(held, _Weak) else held
            return None if func is None else func(event.source, event=event)

        return call_receiver


def order(listener: Listener) -> tuple[float, int]:
    """Return the key that sorts listeners in the order of their calls."""
    return -listener.priority, listener.sequence


class _Weak:
    """A function held by a weak reference; for a method, a weak reference to its instance."""

    __slots__ = ("function", "reference")

    def __init__(self, function: Callable[..., object] | None, reference: weakref.ref[Any]) -> None:
        self.function = function
        self.reference = reference

    def get(self) -> Callable[..., object] | None:
        target = self.reference()
        if target is None or self.function is None:
            return target
        return types.MethodType(self.function, target)


def _held_weakly(func: Callable[..., object], died: Callable[[object], None]) -> _Weak:
    if isinstance(func, _BUILTIN_METHODS):  # each look-up makes a new object, so this one dies at once
        raise InvalidListenerError(func, _NOT_WEAKLY)
    try:
        if isinstance(func, types.MethodType):
            return _Weak(func.__func__, weakref.ref(func.__self__, died))
        return _Weak(None, weakref.ref(func, died))
    except TypeError:
        raise InvalidListenerError(func, _NOT_WEAKLY) from None


def _weak_call(weak: _Weak) -> Callable[[BaseEvent], object]:
    function, reference = weak.function, weak.reference

    def call_method(event: BaseEvent) -> object:
        target = reference()
        return None if target is None else function(target, event)  # type: ignore[misc]  # chosen below

    def call_function(event: BaseEvent) -> object:
        target = reference()
        return None if target is None else target(event)

    return call_function if function is None else call_method


def _notify_collected(
    listener: weakref.ref[Listener], collected: Callable[[Listener], object] | None, _: object
) -> None:
    record = listener()
    if record is not None and collected is not None:
        collected(record)


def check_listener(func: object, filter: object, where: object, priority: object) -> None:  # noqa: A002 (as above)
    """Raise InvalidListenerError unless an event manager can connect `func` in this way."""
    check_callable(func, "one argument, the event", None)
    check_filter(func, filter)
    if where is not None and (not callable(where) or is_coroutine_listener(where)):
        raise InvalidListenerError(func, f"where must be a plain function of the event, not {where!r}")
    if not isinstance(priority, (int, float)) or priority != priority:  # noqa: PLR0124 (not a number)
        raise InvalidListenerError(func, f"priority must be a number, not {priority!r}")


def check_callable(func: object, arguments: str, *args: object, **kwargs: object) -> None:
    """Raise InvalidListenerError unless `func` can be called with such arguments; `arguments` names them."""
    if not callable(func):
        raise InvalidListenerError(func, "it is not callable")
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise InvalidListenerError(func, "it is a generator function, and calling it runs nothing")
    try:
        signature = inspect.signature(func)
    except ValueError:  # a builtin without a signature
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        raise InvalidListenerError(func, f"it cannot be called with {arguments}") from None
