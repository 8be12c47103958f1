"""Connected listeners: their identity, how they are held, which events they accept."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import types
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from encore_events.errors import InvalidListenerError
from encore_events.events import BaseEvent

__all__ = ["FIRST", "qualified_name"]

Filter = Mapping[str, Any]
Where = Callable[[Any], object]

FIRST = math.inf
"""The priority of listeners that only observe: they see an event before another can veto it."""

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
        call: calls the function with an event; does nothing if the function was held weakly and collected.
        sequence: the position in the order of all connects.
    """

    def __init__(
        self,
        cls: type[BaseEvent],
        func: Callable[..., object],
        *,
        filter: Filter | None,  # noqa: A002 (the name that connect() has)
        where: Where | None,
        priority: float,
        weak: bool | None,
        sequence: int,
        collected: Callable[[Listener], None],
    ) -> None:
        """Make the record; `collected` is called with it when a weakly held function is collected."""
        _check(func, filter, where, priority)
        self.cls = cls
        self.key = (cls, identity_of(func))
        self.filter = dict(filter or {})
        self.priority = priority
        self.sequence = sequence
        self.is_coroutine = is_coroutine_listener(func)
        self._filter = [(operator.attrgetter(name), value) for name, value in self.filter.items()]
        self._where = where
        is_weak = isinstance(func, types.MethodType) if weak is None else weak
        died = functools.partial(_notify_collected, weakref.ref(self), collected)
        self._held = _held_weakly(func, died) if is_weak else func
        self.call = _weak_call(self._held) if isinstance(self._held, _Weak) else func

    @property
    def func(self) -> Callable[..., object] | None:
        """The connected function, or None once it was collected."""
        return self._held.get() if isinstance(self._held, _Weak) else self._held

    @property
    def has_predicate(self) -> bool:
        """True if there is a `where` predicate."""
        return self._where is not None

    @property
    def is_conditional(self) -> bool:
        """True if it may refuse some events of its class."""
        return bool(self._filter) or self.has_predicate

    def accepts(self, event: BaseEvent) -> bool:
        """Return whether the event passes filter and predicate. Lets through what they raise."""
        for get, wanted in self._filter:
            try:
                value = get(event)
            except AttributeError:
                return False
            if value is not wanted and not value == wanted:  # noqa: SIM201 (the definition is `is` or `==`)
                return False
        return self._where is None or bool(self._where(event))

    def __call__(self, event: BaseEvent) -> object:
        """Call the function; blinker requires receivers to be callable."""
        return self.call(event)

    def __repr__(self) -> str:
        return f"<Listener: {self.func!r} to {self.cls.__name__}, priority {self.priority}>"


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


def _notify_collected(listener: weakref.ref[Listener], collected: Callable[[Listener], None], _: object) -> None:
    record = listener()
    if record is not None:
        collected(record)


def _check(func: object, filter: object, where: object, priority: object) -> None:  # noqa: A002 (as above)
    if not callable(func):
        raise InvalidListenerError(func, "it is not callable")
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise InvalidListenerError(func, "it is a generator function, and calling it runs nothing")
    if not _takes_one_argument(func):
        raise InvalidListenerError(func, "it cannot be called with one argument, the event")
    if filter is not None and not (isinstance(filter, Mapping) and all(_is_path(name) for name in filter)):
        raise InvalidListenerError(func, f"filter must map names of attributes to values, not {filter!r}")
    if where is not None and (not callable(where) or is_coroutine_listener(where)):
        raise InvalidListenerError(func, f"where must be a plain function of the event, not {where!r}")
    if not isinstance(priority, (int, float)) or priority != priority:  # noqa: PLR0124 (not a number)
        raise InvalidListenerError(func, f"priority must be a number, not {priority!r}")


def _is_path(name: object) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _takes_one_argument(func: Callable[..., object]) -> bool:
    try:
        signature = inspect.signature(func)
    except ValueError:  # a builtin without a signature
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
