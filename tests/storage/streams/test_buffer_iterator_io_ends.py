"""Chunks read as a file: how it ends, by a close, by being collected and by an error."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_storage.streams import BufferIteratorIO


class Chunks:
    """A generator's worth of chunks that ends in an error, if one is given, and knows when it was closed."""

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
def test_every_use_after_the_close_is_a_value_error(use: Read) -> None:
    file = BufferIteratorIO([b"abc"])
    file.close()

    assert file.closed
    with pytest.raises(ValueError, match="closed file"):
        use(file)


def test_closing_closes_a_generator_that_is_partly_consumed() -> None:
    chunks = Chunks(b"a", b"b")
    file = BufferIteratorIO(chunks)
    file.read(1)

    file.close()

    assert chunks.closed == 1


def test_closing_twice_closes_the_iterator_once() -> None:
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


def test_a_block_closes_what_it_read_from() -> None:
    chunks = Chunks(b"a", b"b")

    with BufferIteratorIO(chunks) as file:
        file.read(1)

    assert file.closed
    assert chunks.closed == 1


def test_closing_drops_what_is_buffered_and_the_iterator() -> None:
    class Token:
        pass

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


def test_an_error_of_the_generator_at_its_close_is_told_and_the_file_is_closed() -> None:
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


def test_one_that_is_collected_closes_its_generator() -> None:
    chunks = Chunks(b"a", b"b")
    file = BufferIteratorIO(chunks)
    file.read(1)

    del file
    gc.collect()

    assert chunks.closed == 1


@pytest.mark.parametrize("argument", [None, 3, object()])
def test_what_is_no_iterable_is_refused_by_the_constructor(argument: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        BufferIteratorIO(argument)


def test_one_that_could_not_be_made_is_closed_without_noise() -> None:
    file = BufferIteratorIO.__new__(BufferIteratorIO)

    file.close()

    assert file.closed


@pytest.mark.parametrize("name", ["read", "read to the end", "readinto", "readline", "readlines", "next"])
def test_an_error_of_the_iterator_loses_no_byte_that_came_before_it(name: str) -> None:
    file = BufferIteratorIO(Chunks(b"abc", b"def", error=TimeoutError("too slow")))
    file.read(1)

    with pytest.raises(TimeoutError, match="too slow"):
        READS[name](file)

    assert file.read(100) == b"bcdef"


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_stream_that_broke_off_never_looks_like_one_that_ended(read: Read) -> None:
    file = BufferIteratorIO(Chunks(error=TimeoutError("too slow")))
    with pytest.raises(TimeoutError):
        read(file)

    for _ in range(2):
        with pytest.raises(OSError, match=r"broke off with TimeoutError\('too slow'\)"):
            read(file)
    assert file.read(0) == b""


def test_what_came_before_an_error_can_be_read_in_pieces() -> None:
    file = BufferIteratorIO(Chunks(b"a\nb", b"c", error=TimeoutError()))
    with pytest.raises(TimeoutError):
        file.read()

    assert [file.readline(), file.read1(), file.read(5)] == [b"a\n", b"b", b"c"]
    with pytest.raises(OSError, match="broke off"):
        file.read(5)


def test_an_interrupt_that_ended_the_generator_is_remembered_too() -> None:
    file = BufferIteratorIO(Chunks(error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        file.read()

    with pytest.raises(OSError, match="broke off with KeyboardInterrupt"):
        file.read()


@pytest.mark.parametrize(("chunk", "name"), [("text", "str"), (65, "int"), ([b"a"], "list")])
def test_a_chunk_of_another_type_is_refused_and_nothing_after_it_is_read(chunk: Any, name: str) -> None:
    file = BufferIteratorIO([b"ab", chunk, b"cd"])

    with pytest.raises(TypeError, match=f"gave {name}, not bytes"):
        file.read()

    assert file.read() == b"ab"
    with pytest.raises(OSError, match="broke off with TypeError"):
        file.read()


def test_a_generator_that_broke_off_is_still_closed() -> None:
    chunks = Chunks(b"ab", "text", b"cd")  # type: ignore[arg-type]  # the mistake under test
    file = BufferIteratorIO(chunks)
    with pytest.raises(TypeError):
        file.read()

    file.close()

    assert chunks.closed == 1
