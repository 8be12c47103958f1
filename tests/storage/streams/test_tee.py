"""Tests of `tee`: each file returns all bytes; chunks are read once, shared, and freed early."""

import gc
import io
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from encore_storage.streams import BufferIteratorIO, tee


class Token:
    """A weakly referenceable attribute of a chunk; bytes have no weak references."""


class Chunk(bytes):
    token: Token


class Source:
    """A source of four-byte chunks that counts its reads and the chunks still alive."""

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


def test_every_stream_returns_all_bytes() -> None:
    streams = tee(io.BytesIO(b"abcdefgh"), 3, buffer_size=3)

    assert [stream.read() for stream in streams] == [b"abcdefgh"] * 3


def test_n_defaults_to_two() -> None:
    assert len(tee(io.BytesIO())) == 2


def test_n_zero_returns_an_empty_list() -> None:
    assert tee(io.BytesIO(), 0) == []


def test_streams_are_read_independently() -> None:
    lines, pieces = tee(io.BytesIO(b"one\ntwo\n"), buffer_size=3)

    assert isinstance(lines, BufferIteratorIO)
    assert next(lines) == b"one\n"
    assert [pieces.read(5), lines.read(2), pieces.read(), lines.readline()] == [b"one\nt", b"tw", b"wo\n", b"o\n"]


def test_source_is_read_lazily() -> None:
    source = Source(3)

    first, _ = tee(source, buffer_size=4)
    assert source.reads == 0

    first.read(4)
    assert source.reads == 1


def test_every_chunk_is_read_from_the_source_once() -> None:
    source = Source(3)

    for stream in tee(source, 4, buffer_size=4):
        stream.read()
        stream.read()

    assert source.reads == 4


def test_streams_share_chunks_without_copying() -> None:
    first, second = tee(io.BytesIO(b"abcdefgh"), buffer_size=4)

    assert first.read(4) is second.read(4)


def test_closing_streams_leaves_the_source_open() -> None:
    source = io.BytesIO(b"abc")

    for stream in tee(source):
        stream.close()

    assert source.read() == b"abc"


def test_chunk_is_freed_when_the_last_stream_has_passed_it() -> None:
    source = Source(3)
    first, second = tee(source, buffer_size=4)

    first.read(12)
    assert source.held == 3

    second.read(4)
    assert source.held == 2

    second.read(8)
    assert source.held == 0


def test_streams_read_in_step_keep_no_chunks() -> None:
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
def test_dropped_stream_holds_no_chunks(leave: Callable[[list[BufferIteratorIO]], None], read: int) -> None:
    source = Source(20)
    streams = tee(source, buffer_size=4)
    streams[0].read(40)
    streams[1].read(read)
    assert source.held == 10 - bool(read)  # a chunk of this class is copied where it is being read

    leave(streams)
    assert source.held == 0

    streams[0].read(40)
    assert source.held == 0


def test_closed_stream_does_not_keep_the_source() -> None:
    source = Source(1)
    streams = tee(source, buffer_size=4)
    alive = weakref.ref(source)
    del source

    for stream in streams:
        stream.close()

    assert alive() is None


def test_stream_lagging_far_behind_can_be_closed() -> None:
    class Endless:
        def read(self, size: int, /) -> bytes:
            return b"x"

    first, lagging = tee(Endless(), buffer_size=1)
    first.read(200_000)

    lagging.close()

    assert first.read(1) == b"x"


def test_source_error_is_raised_by_every_stream_that_reaches_it() -> None:
    error = TimeoutError("too slow")
    source = Source(2, error)

    for stream in tee(source, 3, buffer_size=4):
        assert len(stream.read(8)) == 8
        with pytest.raises(TimeoutError) as raised:
            stream.read(1)
        assert raised.value is error
    assert source.reads == 3


def test_failed_stream_never_looks_ended() -> None:
    for stream in tee(Source(2, TimeoutError("too slow")), buffer_size=4):
        with pytest.raises(TimeoutError):
            stream.read()
        assert stream.read() == b"   1   2"
        with pytest.raises(OSError, match="failed earlier with TimeoutError"):
            stream.read()


def test_interrupt_of_the_source_is_an_os_error_for_other_streams() -> None:
    first, second = tee(Source(0, KeyboardInterrupt()), buffer_size=4)

    with pytest.raises(KeyboardInterrupt):
        first.read()
    with pytest.raises(OSError, match="interrupted by KeyboardInterrupt"):
        second.read()


def test_source_reading_its_own_tee_raises_an_error() -> None:
    class Ouroboros:
        streams: list[BufferIteratorIO]

        def read(self, size: int, /) -> bytes:
            return self.streams[1].read(size)

    source = Ouroboros()
    source.streams = tee(source)

    for stream in source.streams:
        with pytest.raises((RuntimeError, OSError), match="reads from its own tee"):
            stream.read()


def test_source_may_read_earlier_bytes_from_its_own_tee() -> None:
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
def test_invalid_argument_is_rejected_by_the_call(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        tee(**{"filelike": Source(1), **arguments})


def test_text_source_is_rejected_by_the_first_read() -> None:
    first, _ = tee(io.StringIO("text"))  # type: ignore[arg-type]  # the mistake under test

    with pytest.raises(TypeError, match="binary mode"):
        first.read()
