"""Copies and pickles of errors and events: made without calling their `__init__`, which may take other arguments."""

from __future__ import annotations

import builtins
import copy
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar, cast

from encore_events.text import repr_of

__all__ = ["CopyableError", "FindClass", "same_class"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

State = dict[str, Any]
FindClass = tuple[Callable[..., type], tuple[object, ...]]

_PLAIN = frozenset((str, int, float, bool, bytes, type(None)))


class _Known(threading.local):
    """The values that the calling thread has checked in this pickle, by id, and whether they can be pickled.

    A value is pickled as its `repr` where it contains itself. Without this, each level of errors and events in each
    other's attributes would double the work.
    """

    def __init__(self) -> None:
        self.values = dict[int, tuple[object, bool]]()


_known = _Known()


class CopyableError(BaseException):
    """The base of errors that can be copied and pickled, whatever arguments their classes take.

    What cannot be pickled, or not be unpickled, is pickled as its `repr`.
    """

    def _class(self) -> FindClass:
        """Return a function and its arguments that return the class; for classes that are made at run time."""
        return same_class, (type(self),)

    def __reduce__(self) -> tuple[Any, ...]:
        args, state = parts_of(self)
        return _remade, (*self._class(), tuple(map(portable, args))), portable_items(state)

    def __setstate__(self, state: State | None) -> None:
        set_state(self, state or {})

    def __copy__(self) -> Self:
        args, state = parts_of(self)
        return set_state(made_of(type(self), args), state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        args, state = parts_of(self)
        copied = memo[id(self)] = made_of(type(self), [deep(each, memo) for each in args])
        return set_state(copied, {name: deep(value, memo) for name, value in state.items()})


def portable(value: object) -> Any:
    """Return the value, or its `repr` if it can't be pickled or unpickled."""
    import pickle  # noqa: PLC0415 (importing it takes a millisecond, and most programs pickle nothing)

    if type(value) in _PLAIN:
        return value
    known, is_outermost = _known.values, not _known.values
    if id(value) in known:
        return value if known[id(value)][1] else repr_of(value)
    known[id(value)] = value, False
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 (made here)
    except Exception:  # noqa: BLE001 (raised by methods of any object)
        return repr_of(value)
    else:
        known[id(value)] = value, True
        return value
    finally:
        if is_outermost:
            known.clear()


def portable_items(state: State) -> State:
    """Return the attributes, each portable."""
    return {name: portable(value) for name, value in state.items()}


def deep(value: T, memo: dict[int, Any]) -> T:
    """Return a deep copy of the value, or the value if it can't be copied."""
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # noqa: BLE001 (as above)
        return value


def state_of(value: object) -> State:
    """Return the attributes of an object, those in slots included."""
    state = object.__getstate__(value)
    parts = state if isinstance(state, tuple) else (state,)
    return {name: item for part in parts if part for name, item in part.items()}


def set_state(made: T, state: State) -> T:
    """Set the attributes of a new object, and return it. No method of its class is called."""
    for name, value in state.items():
        if type(getattr(type(made), name, None)) is _Member:
            object.__setattr__(made, name, value)
        else:
            made.__dict__[name] = value
    return made


class _Slotted:
    __slots__ = ("_slot",)


_Member = type(vars(_Slotted)["_slot"])


def _built_in(cls: type[BaseException]) -> Any:
    """Return the built-in base class that decides the layout of the instances."""
    while getattr(builtins, cls.__name__, None) is not cls:
        cls = cast("type[BaseException]", cls.__base__)
    return cls


def parts_of(error: BaseException) -> tuple[tuple[Any, ...], State]:
    """Return the arguments of the built-in class, and the attributes."""
    _, args, *state = _built_in(type(error)).__reduce__(error)
    return args, {**state_of(error), **(state[0] if state else {})}


def made_of(cls: type[E], args: Iterable[object]) -> E:
    """Return an error of the class with the arguments of its built-in class. None of its own methods is called."""
    built_in, args = _built_in(cls), tuple(args)
    made: E = built_in.__new__(cls, *args)
    built_in.__init__(made, *args)
    return made


def _remade(find: Callable[..., type[E]], names: tuple[object, ...], args: tuple[object, ...]) -> E:
    return made_of(find(*names), args)


def same_class(cls: type) -> type:
    """Return the class."""
    return cls
