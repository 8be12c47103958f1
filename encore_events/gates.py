"""Waiting for another thread: a gate for each who waits, opened by whoever brings what is waited for.

Who waits registers a gate and then looks once more; who brings something brings it first and looks for
gates afterwards. One of the two always sees the other, so nobody sleeps beside what is there. Opening a
gate never waits, and may be done twice or for someone who has left: nothing here can be met half done by
a garbage collection, a signal or a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from typing import Protocol

__all__ = ["ThreadGate"]

Gates = dict["Gate", None]
"""Who waits, the longest first."""


class Gate(Protocol):
    """What one reader or emitter waits at."""

    def open(self) -> bool:
        """Let it pass; whether this was needed, and somebody may be there."""

    def open_in_child(self) -> None:
        """Let it pass in a forked child, and have the parent notice nothing."""


class ThreadGate:
    """Where a thread waits."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        """Make a gate that is shut."""
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, timeout: float = math.inf) -> None:
        """Wait until it is opened, or for `timeout` seconds."""
        self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))

    def open(self) -> bool:
        """Let the thread pass; False if that was done before."""
        try:
            self._lock.release()
        except RuntimeError:
            return False
        return True

    def open_in_child(self) -> None:
        """Let the thread pass: it is there if it is the one that has forked, in a signal handler."""
        self.open()


class LoopGate:
    """Where a task of the running event loop waits."""

    __slots__ = ("_loop", "_opened")

    def __init__(self) -> None:
        """Make a gate that is shut."""
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()

    async def wait(self) -> None:
        """Wait until it is opened."""
        await self._opened

    def open(self) -> bool:
        """Let the task pass, from any thread; False if its loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._pass)
        except RuntimeError:
            return False
        return True

    def open_in_child(self) -> None:
        """Let the task pass, and not wake its loop: that is done by a socket, at which the parent would wake."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._pass()

    def _pass(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)


def open_all(gates: Gates) -> None:
    """Let everyone pass."""
    for gate in list(gates):
        gate.open()
        gates.pop(gate, None)  # only now: an interrupt before would leave it shut for ever


def open_all_in_child(gates: Gates) -> None:
    """Let everyone pass who has been forked along."""
    for gate in list(gates):
        gate.open_in_child()
    gates.clear()


def open_one(gates: Gates) -> None:
    """Let the one pass that has waited longest, and isn't on its way already."""
    for gate in list(gates):
        opened = gate.open()
        gates.pop(gate, None)
        if opened:
            return
