"""Helpers that interrupt a call at any step within modules of the bus, or switch threads at random steps."""

from __future__ import annotations

import gc
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Literal, TypeVar, cast

from tests.events import steps

T = TypeVar("T")
When = Literal["anywhere", "at signals"]

SECONDS = 20


class Step(Generic[T]):
    """The n-th step of a call, at which `interrupt` runs in the same thread. Both take the same subject.

    Attributes:
        came: whether the call had this many steps.
    """

    def __init__(self, number: int, interrupt: Callable[[T], object], when: When) -> None:
        self.came = False
        self._when = when
        self._left = number
        self._interrupt = interrupt
        self._subject: T | None = None

    def within(self, call: Callable[[T], object], subject: T) -> None:
        """Make the call with the garbage collector off: steps of finalizers would be counted as steps of the call."""
        self._subject = subject
        gc.disable()
        steps.here.at_step = self._step
        try:
            call(subject)
        finally:
            steps.here.at_step = None
            gc.enable()

    def _step(self, handles_signals: bool) -> None:
        if handles_signals or self._when == "anywhere":
            self._left -= 1
            if self._left == 0:
                self.came = True
                steps.here.at_step = None
                self._interrupt(cast("T", self._subject))


def steps_of(interrupt: Callable[[T], object], *, at_least: int, when: When = "anywhere") -> Iterator[Step[T]]:
    """Yield a step for each repetition of the call, from the first on, until the call has no more steps.

    An `interrupt` that raises needs 'at signals': the steps at which the interpreter handles them.
    """
    for number in itertools.count(1):
        step = Step(number, interrupt, when)
        yield step
        if not step.came:
            break
    assert number > at_least


class Schedule:
    """Threads of which one runs at a time. Any step within a stream may switch to another, at random.

    Args:
        dice: the source of randomness; the same seed gives the same schedule.
        jobs: one function for each thread, none of which waits for another.
        on_step: called at each step with the number of the running thread.
    """

    def __init__(
        self,
        dice: random.Random,
        jobs: Iterable[Callable[[], object]],
        on_step: Callable[[int], object] = lambda number: None,
    ) -> None:
        self._dice = dice
        self._jobs = list(jobs)
        self._on_step = on_step
        self._turns = [threading.Semaphore(0) for _ in self._jobs]
        self._left = list(range(len(self._jobs)))
        self._switch_probability = dice.choice((0.02, 0.1, 0.3, 0.7))
        self._failed: list[BaseException] = []

    def run(self) -> None:
        """Run all jobs to their ends; raise the first error of one."""
        threads = [begin(self._run_job, number) for number in range(len(self._jobs))]
        gc.disable()
        self._turns[self._dice.choice(self._left)].release()
        for thread in threads:
            end(thread)
        gc.enable()
        for error in self._failed:
            raise error

    def _run_job(self, number: int) -> None:
        self._turns[number].acquire()
        steps.here.at_step = lambda _: self._maybe_switch(number)
        steps.here.at_lock = lambda: self._switch(number)
        try:
            self._jobs[number]()
        except BaseException as error:
            self._failed.append(error)
        finally:
            steps.here.at_step = None
            self._left.remove(number)
            if self._left:
                self._turns[self._dice.choice(self._left)].release()

    def _maybe_switch(self, number: int) -> None:
        self._on_step(number)
        if self._dice.random() < self._switch_probability:
            self._switch(number)

    def _switch(self, number: int) -> None:
        other = self._dice.choice(self._left)
        if other != number:
            self._turns[other].release()
            self._turns[number].acquire()


def run_in_thread(func: Callable[..., object], *arguments: object) -> None:
    """Call `func` in another thread, and wait for its end."""
    thread = begin(func, *arguments)
    end(thread)


def begin(func: Callable[..., object], *arguments: object) -> threading.Thread:
    """Start a thread that calls `func`."""
    thread = threading.Thread(target=func, args=arguments, daemon=True)
    thread.start()
    return thread


def end(thread: threading.Thread) -> None:
    """Wait for the thread to end; fail if it doesn't."""
    thread.join(SECONDS)
    assert not thread.is_alive(), "it waits for ever"
