"""Tests of `ChunkFile`: it reads and seeks as `io.BytesIO` does."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_storage.streams import MEBIBYTE, BufferIteratorIO, ChunkFile, DataChunks, SeekableChunks, tee

SIZES = st.none() | st.integers(min_value=-1, max_value=30)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["read", "readline"]), st.tuples(SIZES)),
    st.tuples(st.just("seek"), st.tuples(st.integers(min_value=-30, max_value=40), st.integers(0, 3))),
    st.tuples(st.sampled_from(["tell", "readlines", "__next__"]), st.just(())),
)


class SmallChunks(SeekableChunks):
    """Chunks of three bytes at most, which count how often they are released."""

    releases = 0

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data))
        self._data = data

    def read_at(self, position: int, size: int) -> bytes:
        return self._data[position : position + min(size, 3)]

    def release(self) -> None:
        self.releases += 1


def outcome(file: io.BytesIO | ChunkFile, name: str, arguments: tuple[int | None, ...]) -> object:
    """Return the result of a call, or the exception if it raises one that is expected."""
    try:
        return getattr(file, name)(*arguments)
    except (ValueError, StopIteration) as error:
        return type(error)


@given(st.lists(st.sampled_from(b"ab\n"), max_size=25).map(bytes), st.lists(CALLS, max_size=20), st.booleans())
def test_every_call_agrees_with_bytesio(
    data: bytes, calls: list[tuple[str, tuple[int | None, ...]]], is_in_one_chunk: bool
) -> None:
    file, model = ChunkFile((DataChunks if is_in_one_chunk else SmallChunks)(data)), io.BytesIO(data)

    for name, arguments in calls:
        assert outcome(file, name, arguments) == outcome(model, name, arguments)
        assert file.tell() == model.tell()


def test_whole_chunk_is_not_copied_before_a_seek() -> None:
    data = bytes(3 * MEBIBYTE)

    assert ChunkFile(DataChunks(data)).read(len(data)) is data


def test_chunks_are_short_after_a_seek() -> None:
    chunks = DataChunks(bytes(MEBIBYTE))
    chunks.seek(10)

    assert [len(chunk) for chunk in chunks][:3] == [65536, 131072, 262144]


def test_seek_within_the_first_chunk_reads_nothing_again() -> None:
    class Once(DataChunks):
        def seek(self, position: int) -> None:
            raise AssertionError(position)

    file = ChunkFile(Once(b"0123456789"))

    assert file.read(6) == b"012345"
    assert (file.seek(2), file.read(2)) == (2, b"23")
    assert (file.seek(4, io.SEEK_CUR), file.read(1)) == (8, b"8")


def test_last_chunk_releases_the_resources_unless_the_file_has_moved() -> None:
    chunks = SmallChunks(b"0123456789")
    file = ChunkFile(chunks)
    file.read()
    assert chunks.releases == 1

    file.seek(0)
    file.read()
    assert chunks.releases == 1
    file.close()
    assert chunks.releases == 2


@pytest.mark.parametrize("call", ["seek", "tell"])
def test_file_over_other_chunks_cannot_seek(call: str) -> None:
    file = ChunkFile([b"one"])

    assert not file.seekable()
    with pytest.raises(io.UnsupportedOperation, match="cannot seek"):
        getattr(file, call)(*[0][: call == "seek"])


@pytest.mark.parametrize("call", ["seekable", "seek", "tell"])
def test_closed_file_refuses_to_seek(call: str) -> None:
    file = ChunkFile(DataChunks(b"one"))
    file.close()

    with pytest.raises(ValueError, match="closed"):
        getattr(file, call)(*[0][: call == "seek"])


@pytest.mark.parametrize("offset", [1.5, None, "1"])
def test_offset_must_be_an_int(offset: object) -> None:
    with pytest.raises(TypeError):
        ChunkFile(DataChunks(b"one")).seek(offset)  # type: ignore[arg-type]  # that is what is tested


def test_tee_streams_are_read_to_the_end() -> None:
    text = json.dumps("x" * 3_000_000).encode()
    whole, decoded, parsed = tee(io.BytesIO(text), 3, 1000)

    assert whole.read() == text
    assert io.TextIOWrapper(decoded, "ascii").read().encode() == text  # type: ignore[type-var]  # the stub requires a name
    assert len(json.load(parsed)) == 3_000_000


def test_buffer_iterator_io_is_read_to_the_end_by_way_of_bufferedreader() -> None:
    text = json.dumps("x" * 3_000_000).encode()

    assert len(json.load(io.BufferedReader(BufferIteratorIO([text])))) == 3_000_000
    assert len(json.loads(BufferIteratorIO([text]).read(-1))) == 3_000_000
