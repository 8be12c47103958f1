"""One clock for all clients of a loop: they write together, and only when there is something to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_SECONDS = 0.05
"""How often it is looked whether there is something new."""

IDLE_SECONDS = 0.25
"""After how long the clients are woken though there is nothing new: for summaries and heartbeats."""

_BUSY = 2  # how many times its own lateness the loop gets for other things


class Ticker:
    """Wakes everyone who waits in `next`, at most each TICK_SECONDS, when there is news or IDLE_SECONDS have passed.

    It has no task: a timer runs while somebody waits. Where writing to all clients makes the timer late, they are
    woken less often. All but `close` belongs to the one loop that serves them.

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
        self._waiters = 0
        self._tick: asyncio.Event | None = None

    async def next(self) -> None:
        """Wait for the next tick."""
        if self._tick is None:
            self._tick = asyncio.Event()
            self._set_timer()
        self._waiters += 1
        try:
            await self._tick.wait()
        finally:
            self._waiters -= 1

    def close(self) -> None:
        """Have all clients go at the next tick. For any thread."""
        self.closed = True

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + TICK_SECONDS + self._rest
        loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        now, news = asyncio.get_running_loop().time(), self._news()
        if news == self._told and now < self._woken + IDLE_SECONDS and not self.closed and self._waiters:
            self._set_timer()
            return
        tick, self._tick = self._tick, None
        if tick is not None:
            tick.set()
        self.count += 1
        self._told, self._woken = news, now
        self._rest = min(_BUSY * (now - due), IDLE_SECONDS)
