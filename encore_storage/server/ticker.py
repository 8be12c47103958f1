"""One clock for all clients of a loop: they write together, and only when there is something to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_SECONDS = 0.05
"""How often it is looked whether there is something new."""

IDLE_SECONDS = 0.25
"""After how long the clients are woken though there is nothing new: for summaries and heartbeats."""

_BUSY = 2  # how many times its own lateness the loop gets for other things


class _Tick:
    """One tick to come: who waits for it, in which loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.came = asyncio.Event()
        self.waiters = 0


class Ticker:
    """Wakes everyone who waits in `next`, at most each TICK_SECONDS, when there is news or IDLE_SECONDS have passed.

    It has no task: a timer runs while somebody waits. Where writing to all clients makes the timer late, they are
    woken less often. All but `close` belongs to the one loop that serves them, and to its successor.

    Args:
        news: a number that grows with what there is to write.

    Attributes:
        count: how many ticks there were.
        closed: whether the clients should go.
    """

    def __init__(self, news: Callable[[], int]) -> None:
        """Make it; nobody waits yet."""
        self.count = 0
        self.closed = False
        self._news = news
        self._told = 0
        self._rest = 0.0
        self._woken = 0.0
        self._tick: _Tick | None = None

    async def next(self) -> None:
        """Wait for the next tick."""
        tick = self._tick
        if tick is None or tick.loop is not asyncio.get_running_loop():
            tick = self._tick = _Tick()
            self._set_timer(tick)
        tick.waiters += 1
        try:
            await tick.came.wait()
        finally:
            tick.waiters -= 1

    def close(self) -> None:
        """Have all clients go at the next tick. For any thread."""
        self.closed = True

    def _set_timer(self, tick: _Tick) -> None:
        due = tick.loop.time() + TICK_SECONDS + self._rest
        tick.loop.call_at(due, self._look, tick, due)

    def _look(self, tick: _Tick, due: float) -> None:
        now, news = tick.loop.time(), self._news()
        if news == self._told and now < self._woken + IDLE_SECONDS and not self.closed and tick.waiters:
            self._set_timer(tick)
            return
        if self._tick is tick:
            self._tick = None
        tick.came.set()
        self.count += 1
        self._told, self._woken = news, now
        self._rest = min(_BUSY * (now - due), IDLE_SECONDS)
