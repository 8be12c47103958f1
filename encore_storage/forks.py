"""What a forked child has to give up: it has none of the threads that would go on with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Running(Generic[T]):
    """What runs in threads of this process; it is kept as long.

    Args:
        give_up: called with each of them in a forked child.
    """

    def __init__(self, give_up: Callable[[T], object]) -> None:
        """Start with none; forks are watched from the first one on."""
        self._give_up = give_up
        self._running: set[T] = set()
        self._watching = threading.Lock()

    def add(self, one: T) -> None:
        """Keep it."""
        self._running.add(one)
        if self._watching.acquire(blocking=False):  # once, and for good
            os.register_at_fork(after_in_child=self._forked)

    def discard(self, one: T) -> None:
        """It has ended; doing so twice does nothing."""
        self._running.discard(one)

    def _forked(self) -> None:
        for one in list(self._running):
            self._give_up(one)
