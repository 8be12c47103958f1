"""One file-like object read as several: the same bytes, once read, shared, and kept no longer than needed."""

import gc
import io
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from encore_storage.streams import BufferIteratorIO, tee


class Token:
    """What a chunk takes along, since bytes can't be referenced weakly."""


class Chunk(bytes):
    token: Token


class Source:
    """Gives a number of chunks of four bytes and knows how often it was read and which chunks are still held."""

    def __init__(self, chunks: int, error: BaseException | None = None) -> None:
        self.left = chunks
        self.error = error
        self.reads = 0
        self._tokens: weakref.WeakSet[Token] = weakref.WeakSet()

    def read(self, size: int, /) -> bytes:
        self.reads += 1
        if not self.left and self.error is not None:
            raise self.error
        if not self.left:
            return b""
        self.left -= 1
        chunk = Chunk(b"%4d" % self.reads)
        chunk.token = Token()
        self._tokens.add(chunk.token)
        return chunk

    @property
    def held(self) -> int:
        return len(self._tokens)


def test_every_stream_gives_all_bytes_of_the_source() -> None:
    streams = tee(io.BytesIO(b"abcdefgh"), 3, buffer_size=3)

    assert [stream.read() for stream in streams] == [b"abcdefgh"] * 3


def test_there_are_two_streams_unless_told_otherwise() -> None:
    assert len(tee(io.BytesIO())) == 2


def test_no_streams_of_a_source_are_an_empty_list() -> None:
    assert tee(io.BytesIO(), 0) == []


def test_the_streams_are_files_that_are_read_independently() -> None:
    lines, pieces = tee(io.BytesIO(b"one\ntwo\n"), buffer_size=3)

    assert isinstance(lines, BufferIteratorIO)
    assert next(lines) == b"one\n"
    assert [pieces.read(5), lines.read(2), pieces.read(), lines.readline()] == [b"one\nt", b"tw", b"wo\n", b"o\n"]


def test_the_source_is_not_read_before_a_stream_is() -> None:
    source = Source(3)

    first, _ = tee(source, buffer_size=4)
    assert source.reads == 0

    first.read(4)
    assert source.reads == 1


def test_every_chunk_and_the_end_are_read_from_the_source_once() -> None:
    source = Source(3)

    for stream in tee(source, 4, buffer_size=4):
        stream.read()
        stream.read()

    assert source.reads == 4


def test_the_streams_share_a_chunk_without_copying_it() -> None:
    first, second = tee(io.BytesIO(b"abcdefgh"), buffer_size=4)

    assert first.read(4) is second.read(4)


def test_the_source_stays_open() -> None:
    source = io.BytesIO(b"abc")

    for stream in tee(source):
        stream.close()

    assert source.read() == b"abc"


def test_a_chunk_is_freed_when_the_last_stream_has_passed_it() -> None:
    source = Source(3)
    first, second = tee(source, buffer_size=4)

    first.read(12)
    assert source.held == 3

    second.read(4)
    assert source.held == 2

    second.read(8)
    assert source.held == 0


def test_streams_in_step_keep_nothing() -> None:
    source = Source(100)
    streams = tee(source, 3, buffer_size=4)

    for _ in range(100):
        for stream in streams:
            stream.read(4)
        assert source.held == 0


def close(streams: list[BufferIteratorIO]) -> None:
    streams.pop().close()


def drop(streams: list[BufferIteratorIO]) -> None:
    streams.pop()


def drop_in_a_cycle(streams: list[BufferIteratorIO]) -> None:
    cycle: list[object] = [streams.pop()]
    cycle.append(cycle)
    del cycle
    gc.collect()


@pytest.mark.parametrize("leave", [close, drop, drop_in_a_cycle])
@pytest.mark.parametrize("read", [0, 2])
def test_a_stream_that_left_holds_nothing_back(leave: Callable[[list[BufferIteratorIO]], None], read: int) -> None:
    source = Source(20)
    streams = tee(source, buffer_size=4)
    streams[0].read(40)
    streams[1].read(read)
    assert source.held == 10

    leave(streams)
    assert source.held == 0

    streams[0].read(40)
    assert source.held == 0


def test_a_closed_stream_that_is_still_held_keeps_nothing_of_the_source() -> None:
    source = Source(1)
    streams = tee(source, buffer_size=4)
    alive = weakref.ref(source)
    del source

    for stream in streams:
        stream.close()

    assert alive() is None


def test_a_stream_that_lags_a_very_long_way_can_be_dropped() -> None:
    class Endless:
        def read(self, size: int, /) -> bytes:
            return b"x"

    first, lagging = tee(Endless(), buffer_size=1)
    first.read(200_000)

    lagging.close()

    assert first.read(1) == b"x"


def test_an_error_of_the_source_comes_out_of_every_stream_that_is_read_up_to_it() -> None:
    error = TimeoutError("too slow")
    source = Source(2, error)

    for stream in tee(source, 3, buffer_size=4):
        assert len(stream.read(8)) == 8
        with pytest.raises(TimeoutError) as raised:
            stream.read(1)
        assert raised.value is error
    assert source.reads == 3


def test_no_stream_takes_an_error_of_the_source_for_the_end() -> None:
    for stream in tee(Source(2, TimeoutError("too slow")), buffer_size=4):
        with pytest.raises(TimeoutError):
            stream.read()
        assert stream.read() == b"   1   2"
        with pytest.raises(OSError, match="broke off with TimeoutError"):
            stream.read()


def test_an_interrupt_is_for_the_one_that_was_interrupted_and_an_oserror_for_the_others() -> None:
    first, second = tee(Source(0, KeyboardInterrupt()), buffer_size=4)

    with pytest.raises(KeyboardInterrupt):
        first.read()
    with pytest.raises(OSError, match="broken off by KeyboardInterrupt"):
        second.read()


def test_a_source_that_reads_its_own_tee_is_told_so() -> None:
    class Ouroboros:
        streams: list[BufferIteratorIO]

        def read(self, size: int, /) -> bytes:
            return self.streams[1].read(size)

    source = Ouroboros()
    source.streams = tee(source)

    for stream in source.streams:
        with pytest.raises((RuntimeError, OSError), match="reads from its own tee"):
            stream.read()


def test_a_source_may_read_from_a_stream_what_was_read_before() -> None:
    class Echo:
        streams: list[BufferIteratorIO]
        reads = 0

        def read(self, size: int, /) -> bytes:
            self.reads += 1
            return b"once" if self.reads == 1 else self.streams[1].read(4)

    source = Echo()
    source.streams = tee(source, buffer_size=4)

    assert source.streams[0].read(8) == b"onceonce"


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"n": -1}, ValueError, "n must be at least 0, not -1"),
        ({"n": True}, TypeError, "n must be an int, not True"),
        ({"buffer_size": 0}, ValueError, "buffer_size must be at least 1, not 0"),
        ({"buffer_size": "4"}, TypeError, "buffer_size must be an int, not '4'"),
        ({"filelike": [b"a"]}, TypeError, "type list has no read"),
    ],
)
def test_a_wrong_argument_is_refused_by_the_call_itself(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        tee(**{"filelike": Source(1), **arguments})


def test_a_text_source_is_refused_by_the_first_read() -> None:
    first, _ = tee(io.StringIO("text"))  # type: ignore[arg-type]  # the mistake under test

    with pytest.raises(TypeError, match="binary mode"):
        first.read()
