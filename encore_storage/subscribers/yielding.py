"""Pauses of a long computation, in which other threads run."""

from __future__ import annotations

import time

EVERY = 10  # series or blocks, between two opportunities

_SHORT, _LONG = 30e-6, 500e-6  # seconds between two pauses, while others wait and while nobody does
_CONTENDED = 300e-6  # seconds; a pause that nobody uses takes less


class Yielder:
    """Pauses often while other threads wait for the interpreter, and seldom while none does.

    A thread that computes without a pause makes others wait for 5 ms. A pause takes about 50 µs if nobody uses it.
    What was found is kept for the next computation.
    """

    __slots__ = ("_due", "_interval")

    def __init__(self) -> None:
        self._interval = _SHORT
        self.start()

    def start(self) -> None:
        """Begin a computation."""
        self._due = time.perf_counter() + self._interval

    def pause(self) -> None:
        """Let other threads run, if it is time."""
        now = time.perf_counter()
        if now >= self._due:
            time.sleep(0)
            ended = time.perf_counter()
            self._interval = _SHORT if ended - now > _CONTENDED else _LONG
            self._due = ended + self._interval
