"""Sweeps: repeat a call, raise an error at each of its moments in turn, and check the state afterwards."""

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
"""The kind of moment: the entry of a Python function, or a bytecode instruction."""

PACKAGES = tuple(str(Path(package.__file__).parent) for package in (encore_events, encore_storage) if package.__file__)
"""The code that sweeps interrupt by default."""

STORES = (str(REPOSITORY / "encore_storage" / "stores"),)
"""The code of the stores."""

FOREVER = 100_000
"""More moments than any call has. A call that reaches it varies from run to run, or never ends."""


class Interruption:
    """A trace function that raises one error, at one moment of the code under some paths.

    Args:
        at: the number of the moment, counted from 1.
        events: the kind of moment.
        error: the class to raise.
        where: prefixes of the paths of that code's files.
    """

    def __init__(self, at: int, events: Moments, error: type[BaseException], where: tuple[str, ...]) -> None:
        self._left = at
        self._events = events
        self._error = error
        self._where = where
        self.place = ""

    @property
    def was_raised(self) -> bool:
        """True if the call reached the moment."""
        return self._left <= 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Count the entry of a function, or trace its instructions."""
        if self.was_raised or not frame.f_code.co_filename.startswith(self._where):
            return None
        if self._events == "call":
            self._count(frame)
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._at_opcode

    def _at_opcode(self, frame: FrameType, event: str, arg: Any) -> Any:
        # Instructions without a line restore the exception handled before. The interpreter checks no signals there,
        # and an error raised there would leave that exception set in the thread.
        if event == "opcode" and not self.was_raised and frame.f_lineno is not None:
            self._count(frame)
        return self._at_opcode

    def _count(self, frame: FrameType) -> None:
        self._left -= 1
        if self.was_raised:
            code = frame.f_code
            self.place = f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_qualname}"
            raise self._error


def run_interrupted(call: Callable[[], object], interruption: Interruption) -> BaseException | None:
    """Make the call under the interruption, and return the error that it raised."""
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 reads it here
    sys.settrace(interruption)
    try:
        call()
    except BaseException as error:
        for each in chain_of(error):
            each.__traceback__ = None  # it would keep objects alive that are to be collected
        return error
    finally:
        sys.settrace(before)
    return None


def chain_of(error: BaseException) -> list[BaseException]:
    """Return the error with all its causes and contexts."""
    chain = [error]
    for each in chain:
        chain += [one for one in (each.__cause__, each.__context__) if one is not None and one not in chain]
    return chain


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the errors of finalizers and threads, and limit garbage collections to new objects."""
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = (lambda _: None), (lambda _: None)
    gc.collect()
    gc.freeze()  # for good: to unfreeze would also unfreeze what `tests/conftest.py` froze
    try:
        yield
    finally:
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
    """Interrupt a call at its first moment, then at its second, and so on until it completes.

    >>> sweep(list, lambda one: one.append(1), lambda one, error: None)
    0

    Args:
        make: makes the argument of one call. It is not interrupted.
        call: the call.
        check: gets that argument and the error that the call raised, or None, and asserts what must hold.
        events: the kind of moment.
        error: the class to raise.
        where: prefixes of the paths of the code to interrupt.
        stride: the step from one moment to the next.
        first: the number of the first moment, so that several tests can share a sweep.

    Returns:
        The number of moments at which the call was interrupted.
    """
    number = 0
    with quiet():
        for at in range(first, FOREVER, stride):
            made = make()
            interruption = Interruption(at, events, error, where)
            raised = run_interrupted(lambda made=made: call(made), interruption)  # type: ignore[misc] # mypy knows no such lambda
            if not interruption.was_raised:
                check(made, raised)
                return number
            gc.collect()
            number += 1
            try:
                check(made, raised)
            except Exception as failure:
                failure.add_note(f"interrupted at moment {at}, {interruption.place}")
                raise
    raise AssertionError(f"the call has more than {FOREVER} moments")
