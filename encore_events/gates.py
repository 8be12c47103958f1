"""Gates at which readers and emitters wait for each other.

A waiter registers its gate and then looks once more. The other side first adds the event or makes the place, and then
opens gates. One of the two always sees the other, so nobody sleeps beside an event. Opening a gate never blocks, and it
may be done twice or after the waiter has left. So a garbage collection, a signal or a fork may come at any step.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading

__all__ = ["ThreadGate"]


class ThreadGate:
    """A gate for one thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
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
        """Let the thread pass: it exists in the child if it forked in a signal handler."""
        self.open()


class LoopGate:
    """A gate for one task of the running event loop."""

    __slots__ = ("_loop", "_opened")

    def __init__(self) -> None:
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
        """Let the task pass without waking its loop: the socket that wakes it is shared with the parent's loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._pass()

    def _pass(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)


Gates = dict[ThreadGate | LoopGate, None]  # of those who wait, the longest-waiting first


def open_all(gates: Gates) -> None:
    """Let all waiters pass."""
    for gate in list(gates):
        gate.open()
        gates.pop(gate, None)  # after the opening: an interrupt between the two would leave it shut for ever


def open_all_in_child(gates: Gates) -> None:
    """Let all waiters pass that the fork has copied."""
    for gate in list(gates):
        gate.open_in_child()
    gates.clear()


def open_one(gates: Gates) -> None:
    """Let the longest-waiting waiter pass that hasn't passed already."""
    for gate in list(gates):
        opened = gate.open()
        gates.pop(gate, None)
        if opened:
            return
