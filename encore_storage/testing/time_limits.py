"""Limits of the time of a test."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail the test if the block takes longer; a limit that is already set, such as pytest-timeout's, stays.

    A signal interrupts the main thread, even if it waits for a lock. It is sent once: later, it could interrupt pytest.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def fail(*_: object) -> None:
        import pytest  # noqa: PLC0415 (base.py explains that it is missing)

        pytest.fail(f"the test did not end within {seconds} s: the store waits for ever")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
