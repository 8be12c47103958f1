"""Sweeps: one call again and again, broken off at each of its moments in turn, and a check of what that has left."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeVar

import encore_events
import encore_storage
from tests.storage.support import REPOSITORY

T = TypeVar("T")

Moments = Literal["call", "opcode"]
"""Where errors are raised: at the entry of each Python function, or before each instruction of the interpreter."""

PACKAGES = tuple(str(Path(package.__file__).parent) for package in (encore_events, encore_storage) if package.__file__)
"""The code that is broken off by default."""

STORES = (str(REPOSITORY / "encore_storage" / "stores"),)
"""The backends."""

FOREVER = 100_000
"""Moments that no call has: it is not the same each time, or does not end."""


class Interruption:
    """A trace function that raises an error at one moment of the code below some directories, and never again.

    Args:
        at: the number of the moment, counted from 1.
        events: the kind of moment.
        error: the class to raise.
        where: the paths that the code's files begin with.
    """

    def __init__(self, at: int, events: Moments, error: type[BaseException], where: tuple[str, ...]) -> None:
        self._left = at
        self._events = events
        self._error = error
        self._where = where
        self.place = ""

    @property
    def has_come(self) -> bool:
        """Whether the call lasted until that moment."""
        return self._left <= 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Count what is entered; have it counted instruction by instruction too, where that is wanted."""
        if self.has_come or not frame.f_code.co_filename.startswith(self._where):
            return None
        if self._events == "call":
            self._count(frame)
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._at_opcode

    def _at_opcode(self, frame: FrameType, event: str, arg: Any) -> Any:
        # What has no line is the interpreter's own, where it puts back the error that was handled before: no signal is
        # looked for there, and an error raised there leaves the other one with the thread.
        if event == "opcode" and not self.has_come and frame.f_lineno is not None:
            self._count(frame)
        return self._at_opcode

    def _count(self, frame: FrameType) -> None:
        self._left -= 1
        if self.has_come:
            code = frame.f_code
            self.place = f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_qualname}"
            raise self._error


def interrupted(call: Callable[[], object], interruption: Interruption) -> BaseException | None:
    """Make the call, broken off as told; return the error that it raised."""
    before = sys.gettrace()
    sys.settrace(interruption)
    try:
        call()
    except BaseException as error:
        for each in chain_of(error):
            each.__traceback__ = None  # it would keep alive what is to be collected
        return error
    finally:
        sys.settrace(before)
    return None


def chain_of(error: BaseException) -> list[BaseException]:
    """The error and all those that it came of."""
    chain = [error]
    for each in chain:
        chain += [one for one in (each.__cause__, each.__context__) if one is not None and one not in chain]
    return chain


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which an error in a finalizer or a thread is not shown, and a collection looks at new objects only."""
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = (lambda _: None), (lambda _: None)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.unraisablehook, threading.excepthook = hooks


def sweep(
    make: Callable[[], T],
    call: Callable[[T], object],
    check: Callable[[T, BaseException | None], object],
    *,
    events: Moments = "call",
    error: type[BaseException] = KeyboardInterrupt,
    where: tuple[str, ...] = PACKAGES,
    stride: int = 1,
    first: int = 1,
) -> int:
    """Break off the call at its first moment, then at its second, and so on until it comes to its end.

    >>> sweep(list, lambda one: one.append(1), lambda one, error: None)
    0

    Args:
        make: makes what one call needs; it is not broken off.
        call: the call.
        check: looks at what it has left, given the error that came out of it or None; it raises what is wrong.
        events: the kind of moment.
        error: the class that is raised.
        where: the paths of the code in which it is raised.
        stride: 1 for each moment, more for one in so many.
        first: the number of the moment to begin with, so that several tests may share a sweep.

    Returns:
        The number of moments at which the call was broken off.
    """
    number = 0
    with quiet():
        for at in range(first, FOREVER, stride):
            made = make()
            interruption = Interruption(at, events, error, where)
            raised = interrupted(lambda made=made: call(made), interruption)  # type: ignore[misc] # mypy knows no such lambda
            if not interruption.has_come:
                check(made, raised)
                return number
            gc.collect()
            number += 1
            try:
                check(made, raised)
            except Exception as failure:
                failure.add_note(f"broken off at moment {at}, {interruption.place}")
                raise
    raise AssertionError(f"the call has more than {FOREVER} moments")
