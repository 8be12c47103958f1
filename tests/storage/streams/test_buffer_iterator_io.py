"""Tests of `BufferIteratorIO`: results of reads, and their cost."""

import contextlib
import io
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from encore_storage.streams import MEBIBYTE, BufferIteratorIO

SIZES = st.none() | st.integers(min_value=-2, max_value=30)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["read", "read1", "readline", "readlines"]), SIZES),
    st.tuples(st.sampled_from(["readinto", "readinto1"]), st.integers(min_value=0, max_value=30)),
    st.tuples(st.sampled_from(["next", "close"]), st.none()),
)
CHUNKS = st.lists(st.lists(st.sampled_from(b"ab\n"), max_size=12).map(bytes), max_size=12)


def outcome(file: io.BufferedIOBase | io.BytesIO, name: str, size: int | None) -> object:
    """Return the result of a call, or ValueError if it raised that."""
    try:
        if name == "next":
            return next(file, b"")
        if name == "close":
            return file.close()
        if name.startswith("readinto"):
            buffer = bytearray(size or 0)
            return getattr(file, name)(buffer), buffer
        return getattr(file, name)(size)
    except ValueError:
        return ValueError


@given(CHUNKS, st.lists(CALLS, max_size=20))
@example([b"ab", b"c\nd"], [("readline", 3), ("readline", None), ("next", None), ("read", None)])
@example([b"a", b"b"], [("close", None), ("read", 1), ("next", None), ("readinto", 2), ("close", None)])
def test_every_call_agrees_with_bytesio(chunks: list[bytes], calls: list[tuple[str, int | None]]) -> None:
    file, model = BufferIteratorIO(iter(chunks)), io.BytesIO(b"".join(chunks))

    for name, size in calls:
        got = outcome(file, name, size)
        if not name.endswith("1") or file.closed:
            assert got == outcome(model, name, size)
            continue
        data = bytes(got[1][: got[0]]) if isinstance(got, tuple) else got
        assert isinstance(data, bytes)
        assert data == model.read(len(data))
        assert data or size == 0 or not model.read(1)
        assert size is None or size < 0 or len(data) <= size


def test_read_size_defaults_to_a_mebibyte() -> None:
    file = BufferIteratorIO([bytes(MEBIBYTE), b"abc"])

    assert len(file.read()) == MEBIBYTE
    assert file.read() == b"abc"


def test_read_size_is_named_buffer_size() -> None:
    assert BufferIteratorIO([b"abc"]).read(buffer_size=2) == b"ab"


@pytest.mark.parametrize("everything", [-1, None])
def test_read_of_minus_one_or_none_reads_to_the_end(everything: int | None) -> None:
    file = BufferIteratorIO([b"ab", b"", b"cd"])
    file.read(1)

    assert file.read(everything) == b"bcd"
    assert file.read(everything) == b""


def test_chunks_may_be_any_bytes_like_objects() -> None:
    file = BufferIteratorIO([bytearray(b"ab"), memoryview(b"cd"), b"ef"])

    assert file.read() == b"abcdef"


def test_mutable_chunk_is_copied() -> None:
    def chunks() -> Iterator[bytearray]:
        buffer = bytearray(b"a")
        for _ in range(3):
            yield buffer
            buffer[0] += 1

    assert BufferIteratorIO(chunks()).read() == b"abc"


def test_whole_chunk_is_not_copied() -> None:
    chunk = bytes(100)

    assert BufferIteratorIO([chunk]).read(100) is chunk


def test_iterator_is_consumed_lazily() -> None:
    chunks = iter([b"ab", b"cd"])

    BufferIteratorIO(chunks)

    assert next(chunks) == b"ab"


def test_read_consumes_no_more_chunks_than_needed() -> None:
    chunks = iter([b"ab", b"cd", b"ef"])

    BufferIteratorIO(chunks).read(3)

    assert list(chunks) == [b"ef"]


def test_read1_returns_buffered_bytes_without_consuming_a_chunk() -> None:
    chunks = iter([b"abc", b"def"])
    file = BufferIteratorIO(chunks)
    file.read(1)

    assert file.read1() == b"bc"
    assert list(chunks) == [b"def"]


def test_read1_of_zero_consumes_no_chunk() -> None:
    chunks = iter([b"abc"])

    assert BufferIteratorIO(chunks).read1(0) == b""
    assert list(chunks) == [b"abc"]


def test_read1_returns_one_chunk_when_nothing_is_buffered() -> None:
    file = BufferIteratorIO([b"", b"abc", b"def"])

    assert [file.read1(2), file.read1(), file.read1(100), file.read1()] == [b"ab", b"c", b"def", b""]


def test_readinto1_reads_one_chunk() -> None:
    buffer = bytearray(5)

    assert BufferIteratorIO([b"abc", b"def"]).readinto1(buffer) == 3
    assert buffer == b"abc\0\0"


def test_lines_span_chunks() -> None:
    assert list(BufferIteratorIO([b"one\ntw", b"o\n", b"", b"\nfour"])) == [b"one\n", b"two\n", b"\n", b"four"]


@contextlib.contextmanager
def counted_calls(name: str) -> Iterator[list[int]]:
    """Return a list whose one item is the number of calls of the builtin method with this name in the block."""
    calls = [0]

    def count(_frame: object, event: str, function: Any) -> None:
        calls[0] += event == "c_call" and function.__name__ == name

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_small_reads_copy_no_more_than_they_return() -> None:
    file = BufferIteratorIO([bytes(MEBIBYTE)])
    file.read(1)
    tracemalloc.start()
    try:
        for _ in range(1_000):
            file.read(7)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10_000


def test_read_of_a_whole_chunk_copies_nothing() -> None:
    chunk = bytes(MEBIBYTE)

    assert BufferIteratorIO([chunk]).read() is chunk
    assert BufferIteratorIO([chunk]).read(-1) is chunk
    assert BufferIteratorIO([chunk]).read1() is chunk


def test_short_lines_search_each_byte_once() -> None:
    file = BufferIteratorIO([b"line\n" * 1_000])

    with counted_calls("readline") as calls:
        assert len([*iter(file.readline, b"")]) == 1_000
    assert calls == [1_002]  # of the chunk; the first and the last find none


def test_long_line_searches_each_chunk_once() -> None:
    chunks = [b"abc"] * 1_000

    with counted_calls("readline") as calls:
        assert len(BufferIteratorIO(chunks).readline()) == 3_000
    assert calls == [1_001]


def test_file_is_only_readable() -> None:
    file = BufferIteratorIO([b"abc"])

    assert isinstance(file, io.BufferedIOBase)
    assert (file.readable(), file.writable(), file.seekable()) == (True, False, False)
    with pytest.raises(io.UnsupportedOperation):
        file.seek(0)
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"")


def test_repr_shows_buffered_bytes() -> None:
    file = BufferIteratorIO([b"abc"])
    file.read(1)
    assert repr(file) == "<BufferIteratorIO: 2 bytes buffered>"

    file.close()

    assert repr(file) == "<BufferIteratorIO: closed>"
