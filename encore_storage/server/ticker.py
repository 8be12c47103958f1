"""A timer shared by all streams of a loop, which write together when there is something to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_SECONDS = 0.05  # between checks for news
IDLE_SECONDS = 0.25  # the longest wait for news: summaries and heartbeats need ticks without any
_BUSY = 2  # the pause after a late tick, as a multiple of its delay


class _Tick:
    """The next tick, and those who wait for it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()
        self.waiters = 0


class Ticker:
    """A ticker that wakes all waiters of `next` when there is news, or when IDLE_SECONDS have passed.

    Ticks are at least TICK_SECONDS apart, and more if the loop is too busy writing to be on time. A timer runs only
    while somebody waits. All methods but `close` belong to one event loop at a time.

    Args:
        news: returns a number that grows with everything to write.

    Attributes:
        count: the number of ticks.
        closed: whether the streams should end.
    """

    def __init__(self, news: Callable[[], int]) -> None:
        self.count = 0
        self.closed = False
        self._news = news
        self._seen = 0
        self._pause = 0.0
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
            await tick.event.wait()
        finally:
            tick.waiters -= 1

    def close(self) -> None:
        """End all streams at the next tick. Thread-safe."""
        self.closed = True

    def _set_timer(self, tick: _Tick) -> None:
        due = tick.loop.time() + TICK_SECONDS + self._pause
        tick.loop.call_at(due, self._check, tick, due)

    def _check(self, tick: _Tick, due: float) -> None:
        now, news = tick.loop.time(), self._news()
        if news == self._seen and now < self._woken + IDLE_SECONDS and not self.closed and tick.waiters:
            self._set_timer(tick)
            return
        if self._tick is tick:
            self._tick = None
        tick.event.set()
        self.count += 1
        self._seen, self._woken = news, now
        self._pause = min(_BUSY * (now - due), IDLE_SECONDS)
