"""Streams read in event loops."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, EventsDroppedEvent, EventStream
from tests.events.stepping import begin, end, run_in_thread


class Opened(BaseEvent):
    number: int


def emit_some(manager: EventManager, *some: int) -> None:
    for number in some:
        manager.emit(Opened(number=number))


async def numbers(stream: EventStream[Opened]) -> list[int]:
    return [event.number async for event in stream if not isinstance(event, EventsDroppedEvent)]


async def waiting(stream: EventStream[Any], how_many: int) -> None:
    """Let tasks run until `how_many` readers wait."""
    while len(stream._buffer._readers) < how_many:  # noqa: ASYNC110 (an event would let other tasks run between)
        await asyncio.sleep(0)


def test_task_reads_events_of_its_own_loop(manager: EventManager) -> None:
    async def run() -> list[int]:
        stream = manager.stream(Opened)
        reader = asyncio.create_task(numbers(stream))
        for number in range(3):
            emit_some(manager, number)
            await waiting(stream, 1)
        stream.close()
        return await reader

    assert asyncio.run(run()) == [0, 1, 2]


def test_task_reads_events_of_another_thread(manager: EventManager) -> None:
    async def run() -> list[int]:
        stream = manager.stream(Opened)
        reader = asyncio.create_task(numbers(stream))
        for number in range(3):
            await waiting(stream, 1)
            await asyncio.to_thread(emit_some, manager, number)
        await asyncio.to_thread(stream.close)
        return await reader

    assert asyncio.run(run()) == [0, 1, 2]


def test_two_loops_share_a_stream(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    got: list[list[int]] = []
    readers = [begin(lambda: got.append(asyncio.run(numbers(stream)))) for _ in range(2)]

    emit_some(manager, *range(2000))
    stream.close()
    for reader in readers:
        end(reader)

    assert sorted(number for some in got for number in some) == list(range(2000))
    assert all(some == sorted(some) for some in got)


def test_two_loops_read_separate_streams(manager: EventManager) -> None:
    streams = [manager.stream(Opened) for _ in range(2)]
    got: list[list[int]] = []

    def reader(stream: EventStream[Opened]) -> threading.Thread:
        return begin(lambda: got.append(asyncio.run(numbers(stream))))

    readers = [reader(stream) for stream in streams]
    emit_some(manager, *range(2000))
    manager.close()
    for one in readers:
        end(one)

    assert got == [list(range(2000))] * 2


def test_cancelled_reader_loses_no_event(manager: EventManager) -> None:
    async def run() -> object:
        stream = manager.stream(Opened)
        reader = asyncio.ensure_future(anext(stream))
        await waiting(stream, 1)
        emit_some(manager, 1)  # wakes the reader, which is then cancelled
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert stream._buffer._readers == {}
        return await anext(stream)

    event = asyncio.run(run())

    assert isinstance(event, Opened)
    assert event.number == 1


def test_cancelled_reader_leaves_the_event_to_another(manager: EventManager) -> None:
    async def run() -> BaseEvent:
        stream = manager.stream(Opened)
        readers = [asyncio.ensure_future(anext(stream)) for _ in range(2)]
        await waiting(stream, 2)
        emit_some(manager, 1)
        readers[0].cancel()
        return await asyncio.wait_for(readers[1], 20)

    assert isinstance(asyncio.run(run()), Opened)


def test_async_read_can_time_out(manager: EventManager) -> None:
    async def run() -> None:
        stream = manager.stream(Opened)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.001)
        emit_some(manager, 1)
        assert isinstance(await anext(stream), Opened)

    asyncio.run(run())


def test_busy_reader_lets_other_tasks_run(manager: EventManager) -> None:
    async def run() -> int:
        stream = manager.stream(Opened)
        emit_some(manager, 0)
        count = 0

        async def read() -> None:
            nonlocal count
            async for _ in stream:
                count += 1
                emit_some(manager, 0)

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)  # let the reader run once
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert len(stream) == 1
        return count

    assert asyncio.run(run()) < 1000


def test_async_reader_gets_notices_of_drops(manager: EventManager) -> None:
    async def run() -> list[BaseEvent]:
        stream = manager.stream(Opened, capacity=1)
        emit_some(manager, 1, 2, 3)
        stream.close()
        return [event async for event in stream]

    dropped, event = asyncio.run(run())
    assert isinstance(dropped, EventsDroppedEvent)
    assert dropped.count == 2
    assert isinstance(event, Opened)


@pytest.mark.parametrize("is_closed", [True, False])
def test_ended_loop_with_waiting_task_blocks_nobody(manager: EventManager, *, is_closed: bool) -> None:
    stream = manager.stream(Opened)
    loop = asyncio.new_event_loop()
    reader = loop.create_task(numbers(stream))
    loop.run_until_complete(waiting(stream, 1))
    if is_closed:
        loop.close()
    got: list[BaseEvent | None] = []
    other = begin(lambda: got.append(stream.get()))

    emit_some(manager, 1)
    end(other)

    assert isinstance(got[0], Opened)
    if not is_closed:
        reader.cancel()
        loop.run_until_complete(asyncio.wait([reader]))
        loop.close()
    else:
        reader._log_destroy_pending = False  # type: ignore[attr-defined]  # the pending reader is intended
        reader.get_coro().close()


def test_loop_and_thread_share_a_stream(manager: EventManager) -> None:
    stream = manager.stream(Opened)
    got: list[int] = []
    readers: list[Callable[[], object]] = [
        lambda: got.extend(asyncio.run(numbers(stream))),
        lambda: got.extend(event.number for event in stream if isinstance(event, Opened)),
    ]
    threads = [begin(reader) for reader in readers]

    emit_some(manager, *range(1000))
    run_in_thread(stream.close)
    for thread in threads:
        end(thread)

    assert sorted(got) == list(range(1000))


def test_emit_async_reaches_a_stream(manager: EventManager) -> None:
    async def run() -> list[int]:
        stream = manager.stream(Opened)
        emits: list[Awaitable[None]] = [manager.emit_async(Opened(number=number)) for number in range(3)]
        await asyncio.gather(*emits)
        stream.close()
        return await numbers(stream)

    assert asyncio.run(run()) == [0, 1, 2]
