"""Tests of `BufferIteratorIO`: close, garbage collection and errors."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_storage.streams import BufferIteratorIO


class Chunks:
    """An iterable of chunks, ending in an optional error, that counts the closes of its generators."""

    def __init__(self, *chunks: bytes, error: BaseException | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.chunks
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1


Read = Callable[[BufferIteratorIO], object]
READS: dict[str, Read] = {
    "read": lambda file: file.read(100),
    "read to the end": lambda file: file.read(None),
    "read1": lambda file: file.read1(),
    "readinto": lambda file: file.readinto(bytearray(100)),
    "readinto1": lambda file: file.readinto1(bytearray(100)),
    "readline": lambda file: file.readline(),
    "readlines": lambda file: file.readlines(),
    "next": next,
}
OTHER_USES: dict[str, Read] = {
    "read nothing": lambda file: file.read(0),
    "readable": lambda file: file.readable(),
    "iter": iter,
    "with": lambda file: file.__enter__(),
}


@pytest.mark.parametrize("use", [*READS.values(), *OTHER_USES.values()], ids=[*READS, *OTHER_USES])
def test_use_after_close_raises_value_error(use: Read) -> None:
    file = BufferIteratorIO([b"abc"])
    file.close()

    assert file.closed
    with pytest.raises(ValueError, match="closed file"):
        use(file)


def test_close_closes_a_partly_consumed_generator() -> None:
    chunks = Chunks(b"a", b"b")
    file = BufferIteratorIO(chunks)
    file.read(1)

    file.close()

    assert chunks.closed == 1


def test_second_close_does_nothing() -> None:
    class Closing:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            raise StopIteration

        def close(self) -> None:
            self.closed += 1

    chunks = Closing()
    file = BufferIteratorIO(chunks)

    file.close()
    file.close()

    assert chunks.closed == 1


def test_with_block_closes_the_iterator() -> None:
    chunks = Chunks(b"a", b"b")

    with BufferIteratorIO(chunks) as file:
        file.read(1)

    assert file.closed
    assert chunks.closed == 1


def test_close_releases_buffered_chunks_and_the_iterator() -> None:
    class Token:
        """A weakly referenceable attribute of a chunk; bytes have no weak references."""

    class Chunk(bytes):
        token: Token

    def chunks() -> Iterator[bytes]:
        chunk = Chunk(b"abc")
        chunk.token = Token()
        held.append(weakref.ref(chunk.token))
        yield chunk

    held: list[weakref.ref[Token]] = []
    iterator = chunks()
    held_iterator = weakref.ref(iterator)
    file = BufferIteratorIO(iterator)
    del iterator
    file.read(1)

    file.close()

    assert held_iterator() is None
    assert held[0]() is None


def test_close_raises_the_generators_error_and_closes_the_file() -> None:
    def chunks() -> Iterator[bytes]:
        try:
            yield b"a"
        finally:
            raise OSError("the connection was reset")

    file = BufferIteratorIO(chunks())
    file.read(1)

    with pytest.raises(OSError, match="connection was reset"):
        file.close()
    assert file.closed
    file.close()


def test_collection_closes_the_generator() -> None:
    chunks = Chunks(b"a", b"b")
    file = BufferIteratorIO(chunks)
    file.read(1)

    del file
    gc.collect()

    assert chunks.closed == 1


@pytest.mark.parametrize("argument", [None, 3, object()])
def test_non_iterable_is_rejected_by_the_constructor(argument: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        BufferIteratorIO(argument)


def test_uninitialised_file_can_be_closed() -> None:
    file = BufferIteratorIO.__new__(BufferIteratorIO)

    file.close()

    assert file.closed


@pytest.mark.parametrize("name", ["read", "read to the end", "readinto", "readline", "readlines", "next"])
def test_iterator_error_loses_no_earlier_bytes(name: str) -> None:
    file = BufferIteratorIO(Chunks(b"abc", b"def", error=TimeoutError("too slow")))
    file.read(1)

    with pytest.raises(TimeoutError, match="too slow"):
        READS[name](file)

    assert file.read(100) == b"bcdef"


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_failed_stream_never_looks_ended(read: Read) -> None:
    file = BufferIteratorIO(Chunks(error=TimeoutError("too slow")))
    with pytest.raises(TimeoutError):
        read(file)

    for _ in range(2):
        with pytest.raises(OSError, match=r"failed earlier with TimeoutError\('too slow'\)"):
            read(file)
    assert file.read(0) == b""


def test_bytes_before_an_error_can_be_read_in_pieces() -> None:
    file = BufferIteratorIO(Chunks(b"a\nb", b"c", error=TimeoutError()))
    with pytest.raises(TimeoutError):
        file.read()

    assert [file.readline(), file.read1(1), file.read(5)] == [b"a\n", b"b", b"c"]
    with pytest.raises(OSError, match="failed earlier"):
        file.read(5)


def test_interrupted_stream_never_looks_ended() -> None:
    file = BufferIteratorIO(Chunks(error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        file.read()

    with pytest.raises(OSError, match="failed earlier with KeyboardInterrupt"):
        file.read()


@pytest.mark.parametrize(("chunk", "name"), [("text", "str"), (65, "int"), ([b"a"], "list")])
def test_chunk_of_another_type_fails_the_stream(chunk: Any, name: str) -> None:
    file = BufferIteratorIO([b"ab", chunk, b"cd"])

    with pytest.raises(TypeError, match=f"returned {name}, not bytes"):
        file.read()

    assert file.read() == b"ab"
    with pytest.raises(OSError, match="failed earlier with TypeError"):
        file.read()


def test_close_closes_a_failed_generator() -> None:
    chunks = Chunks(b"ab", "text", b"cd")  # type: ignore[arg-type]  # the mistake under test
    file = BufferIteratorIO(chunks)
    with pytest.raises(TypeError):
        file.read()

    file.close()

    assert chunks.closed == 1
