"""Something else comes between any two steps of a call: each step of the interpreter within a stream is one."""

from __future__ import annotations

import dis
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Literal, TypeVar, cast

import encore_events

T = TypeVar("T")
When = Literal["anywhere", "at signals"]

MODULES = ("stream.py", "buffer.py", "drops.py", "gates.py")
STEPPED = {str(Path(encore_events.__file__).with_name(name)) for name in MODULES}
LOOKS_FOR_SIGNALS = {code for name, code in dis.opmap.items() if name.startswith(("CALL", "JUMP_BACKWARD", "RESUME"))}
SECONDS = 20


class Step(Generic[T]):
    """The n-th step of a call, at which `interrupt` runs, in the same thread; both take what they are about.

    Attributes:
        came: whether the call had so many steps.
    """

    def __init__(self, number: int, interrupt: Callable[[T], object], when: When) -> None:
        self.came = False
        self._when = when
        self._left = number
        self._interrupt = interrupt
        self._subject: T | None = None
        self._before: dict[int, int] = {}

    def within(self, call: Callable[[T], object], subject: T) -> None:
        """Make the call, and collect no garbage meanwhile: what finalizers do would be counted as steps of the call."""
        self._subject = subject
        gc.disable()
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for it here
        sys.settrace(self._enter)
        try:
            call(subject)
        finally:
            sys.settrace(before)
            gc.enable()

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in STEPPED:
            return None
        self._before.pop(id(frame), None)
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, argument: object) -> Any:
        if event != "opcode":
            return self._step
        if self._when == "anywhere" or self._before.get(id(frame)) in LOOKS_FOR_SIGNALS:
            self._left -= 1
            if self._left == 0:
                self.came = True
                self._interrupt(cast("T", self._subject))
        self._before[id(frame)] = frame.f_code.co_code[frame.f_lasti]
        return self._step


def steps_of(interrupt: Callable[[T], object], *, at_least: int, when: When = "anywhere") -> Iterator[Step[T]]:
    """A step for each time that the call is made, the first one first, until the call has no more steps.

    What raises must come 'at signals': where the interpreter looks for them.
    """
    for number in itertools.count(1):
        step = Step(number, interrupt, when)
        yield step
        if not step.came:
            break
    assert number > at_least


def elsewhere(func: Callable[..., object], *arguments: object) -> None:
    """Run it in another thread, to its end."""
    thread = begin(func, *arguments)
    end(thread)


def begin(func: Callable[..., object], *arguments: object) -> threading.Thread:
    """A thread that runs it."""
    thread = threading.Thread(target=func, args=arguments, daemon=True)
    thread.start()
    return thread


def end(thread: threading.Thread) -> None:
    """Wait for a thread that must come to its end."""
    thread.join(SECONDS)
    assert not thread.is_alive(), "it waits for ever"
