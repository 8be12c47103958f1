"""The ticker, which wakes all streams together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from encore_storage.server import ticker as module
from encore_storage.server.ticker import Ticker, _Tick


class News:
    """A counter of things to write."""

    count = 0

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def news() -> News:
    return News()


@pytest.fixture
def ticker(news: News, monkeypatch: pytest.MonkeyPatch) -> Ticker:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(module, "IDLE_SECONDS", 3600.0)
    return Ticker(news)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=30))


async def checked(ticker: Ticker, times: int) -> None:
    """Wait until the ticker has checked for news that many times."""
    news = ticker._news
    left = asyncio.Event()
    seen = 0

    def counted() -> int:
        nonlocal seen
        seen += 1
        if seen == times:
            left.set()
        return news()

    ticker._news = counted
    await left.wait()
    ticker._news = news


def test_one_tick_wakes_all_waiters(ticker: Ticker, news: News) -> None:
    ticker._woken = 1e12  # just now

    async def test() -> None:
        waiting = [asyncio.create_task(ticker.next()) for _ in range(5)]
        await checked(ticker, 3)
        news.count += 1
        await asyncio.gather(*waiting)

    run(test)
    assert ticker.count == 1


def test_without_news_no_waiter_is_woken(ticker: Ticker, news: News) -> None:
    ticker._woken = 1e12

    async def test() -> None:
        waiting = asyncio.create_task(ticker.next())
        await checked(ticker, 5)
        assert not waiting.done()
        ticker._woken = -1e12  # long ago
        await waiting

    run(test)


def test_close_wakes_all_waiters(ticker: Ticker) -> None:
    ticker._woken = 1e12

    async def test() -> None:
        waiting = asyncio.create_task(ticker.next())
        await checked(ticker, 2)
        await asyncio.to_thread(ticker.close)
        await waiting

    run(test)
    assert ticker.closed


def test_timer_stops_without_waiters(ticker: Ticker) -> None:
    ticker._woken = 1e12

    async def test() -> None:
        waiting = asyncio.create_task(ticker.next())
        await checked(ticker, 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await checked(ticker, 1)
        assert ticker._tick is None

    run(test)


def test_next_after_a_tick_waits_for_another(ticker: Ticker, news: News) -> None:
    async def test() -> None:
        for _ in range(3):
            news.count += 1
            await ticker.next()

    run(test)
    assert ticker.count == 3


def test_late_tick_delays_the_next_one(ticker: Ticker, news: News) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        ticker._check(_Tick(), loop.time() - 0.2)

    run(test)
    assert 0.4 <= ticker._pause <= 3600


def test_ticker_works_in_another_loop_after_the_first_has_ended(ticker: Ticker, news: News) -> None:
    async def leave() -> None:
        waiting = asyncio.create_task(ticker.next())
        await asyncio.sleep(0)
        assert not waiting.done()

    async def wait() -> None:
        news.count += 1
        await ticker.next()

    run(leave)
    run(wait)
    assert ticker.count == 1
