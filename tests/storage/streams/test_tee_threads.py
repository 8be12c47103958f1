"""Tests of `tee` in several threads, with forced schedules."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from encore_storage.streams import BufferIteratorIO, tee

PATIENCE = 30  # seconds


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


class Numbers:
    """A source of the numbers 1 to `last` as four-byte chunks; calls `during` inside each read."""

    def __init__(self, last: int, during: Callable[[int], object] = lambda number: None) -> None:
        self.last = last
        self.during = during
        self.number = 0

    def read(self, size: int, /) -> bytes:
        number = self.number = self.number + 1
        self.during(number)
        return b"%4d" % number if number <= self.last else b""


def whole(last: int) -> bytes:
    return b"".join(b"%4d" % number for number in range(1, last + 1))


def test_streams_requesting_a_chunk_at_once_all_get_it(threads: ThreadPoolExecutor) -> None:
    source = Numbers(200)
    together = threading.Barrier(4, timeout=PATIENCE)

    def read(stream: BufferIteratorIO) -> bytes:
        data = b""
        for _ in range(200):
            together.wait()
            data += stream.read(4)
        return data + stream.read()

    assert set(threads.map(read, tee(source, 4, buffer_size=4))) == {whole(200)}
    assert source.number == 201


def test_source_is_read_by_one_thread_while_others_wait(threads: ThreadPoolExecutor) -> None:
    entered = [threading.Event() for _ in range(5)]

    def during(number: int) -> None:
        entered[number].set()
        assert not entered[number + 1].wait(0.05)  # time for another thread to enter, if it could

    streams = tee(Numbers(2, during), 3, buffer_size=4)

    assert set(threads.map(BufferIteratorIO.read, streams)) == {whole(2)}


def test_lagging_stream_reads_on_while_another_waits_for_the_source(threads: ThreadPoolExecutor) -> None:
    entered, released = threading.Event(), threading.Event()

    def during(number: int) -> None:
        if number == 3:
            entered.set()
            assert released.wait(PATIENCE)

    ahead, lagging = tee(Numbers(3, during), buffer_size=4)
    first = threads.submit(ahead.read)
    assert entered.wait(PATIENCE)

    try:
        assert threads.submit(lagging.read, 8).result(PATIENCE) == whole(2)
        assert not first.done()
    finally:
        released.set()

    assert first.result(PATIENCE) == whole(3)


def test_stream_can_be_closed_while_another_waits_for_the_source(threads: ThreadPoolExecutor) -> None:
    entered, released = threading.Event(), threading.Event()

    def during(number: int) -> None:
        entered.set()
        assert released.wait(PATIENCE)

    reading, closing = tee(Numbers(3, during), buffer_size=4)
    first = threads.submit(reading.read)
    assert entered.wait(PATIENCE)

    try:
        threads.submit(closing.close).result(PATIENCE)
    finally:
        released.set()

    assert first.result(PATIENCE) == whole(3)


def test_stream_can_be_collected_during_a_read_of_the_source(threads: ThreadPoolExecutor) -> None:
    streams: list[BufferIteratorIO] = []

    def during(number: int) -> None:
        if len(streams) > 1:
            streams.pop()

    streams += tee(Numbers(3, during), 3, buffer_size=4)

    assert threads.submit(streams[0].read).result(PATIENCE) == whole(3)
    assert len(streams) == 1


def test_source_error_reaches_waiting_streams(threads: ThreadPoolExecutor) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def during(number: int) -> None:
        if number == 2:
            raise TimeoutError("too slow")

    def read(stream: BufferIteratorIO) -> type[BaseException] | None:
        stream.read(4)
        together.wait()
        with pytest.raises(TimeoutError) as raised:
            stream.read(4)
        return raised.type

    assert list(threads.map(read, tee(Numbers(3, during), 3, buffer_size=4))) == [TimeoutError] * 3
