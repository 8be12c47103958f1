"""Reading chunks as a file."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from encore_events import forks
from encore_events.text import repr_of
from encore_storage.errors import UnpicklableError
from encore_storage.streams.sources import MEBIBYTE, as_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_Chunk = tuple[io.BytesIO, int]
"""A chunk that is being read, and its size. A read is one step of C, which no thread or interrupt can divide."""

NO_CHUNK: _Chunk = (io.BytesIO(), 0)
_CLOSED: _Chunk = (io.BytesIO(), 0)
_CLOSED[0].close()


class BufferIteratorIO(io.BufferedIOBase):
    """A readable binary file over an iterable of chunks, at a cost linear in bytes.

    Unlike that of other files, `read()` without a size returns at most 1 MiB. Functions that call it and expect the
    whole file, such as `json.load`, lose the rest. Pass them an `io.BufferedReader` around this file, or the result of
    `read(-1)`. A text file is an `io.TextIOWrapper` around the `io.BufferedReader`.

    Chunks are bytes-like objects of any size, empty ones included. Closing the file closes the iterator if it has a
    `close()`, as generators do.

    The read during which the iterator fails raises its error. Bytes received before the error are not lost: the next
    read returns them. All later reads raise OSError, so a broken stream never looks like one that has ended.

    >>> BufferIteratorIO([b"observe ", b"", b"every byte"]).read(10)
    b'observe ev'
    >>> text = io.TextIOWrapper(io.BufferedReader(BufferIteratorIO([b"observe ", b"every byte"])), encoding="utf-8")
    >>> text.read()
    'observe every byte'

    Args:
        iterator: the chunks, such as those of `buffer_iterator`.

    Raises:
        TypeError: `iterator` is not iterable; or, while reading, a chunk is not bytes-like.
    """

    _iterator: Iterator[ReadableBuffer] = iter(())  # the finalizer calls close() even if __init__ failed

    def __init__(self, iterator: Iterable[ReadableBuffer]) -> None:
        self._iterator = iter(iterator)
        self._chunk = NO_CHUNK
        self._failure: str | None = None
        self._process = forks.current
        self._lock = threading.RLock()  # held to go on with the next chunk: other readers of this file need it, too

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._buffered} bytes buffered"
        return f"<{type(self).__name__}: {state}>"

    def __reduce__(self) -> NoReturn:
        raise UnpicklableError(repr(self), "it is an open stream; read it, and pickle the bytes")

    def readable(self) -> bool:
        """Return True. Raises ValueError if the file is closed."""
        self._check_open()
        return True

    def read(self, buffer_size: int | None = MEBIBYTE) -> bytes:
        """Return the next `buffer_size` bytes, by default 1 MiB and fewer only at the end.

        Return all that remain for None or a negative number.
        """
        chunk = self._chunk
        data = chunk[0].read(buffer_size)
        return data if chunk[0].tell() < chunk[1] else self._read_on(chunk, data, _limit(buffer_size))

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` buffered bytes; if none are buffered, request one chunk from the iterator first."""
        chunk = self._chunk
        data = chunk[0].read1(size)
        if chunk[0].tell() < chunk[1]:
            return data
        return self._read_on(chunk, data, len(data) if data else _limit(size), is_last=len)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the bytes up to and including the next newline, at most `size` unless it is None or negative."""
        chunk = self._chunk
        line = chunk[0].readline(size)
        if chunk[0].tell() < chunk[1]:
            return line
        wanted = len(line) if line.endswith(b"\n") else _limit(size)
        return self._read_on(chunk, line, wanted, io.BytesIO.readline, _ends_line)

    def close(self) -> None:
        """Discard buffered bytes and close the iterator. Later reads raise ValueError."""
        super().close()
        iterator, self._iterator = self._iterator, iter(())
        self._chunk = _CLOSED
        if hasattr(iterator, "close"):
            iterator.close()

    @property
    def _buffered(self) -> int:
        """The number of unread bytes of the chunk."""
        chunk, size = self._chunk
        return size - chunk.tell()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _read_on(
        self,
        chunk: _Chunk,
        data: bytes,
        size: int,
        read: Callable[[io.BytesIO, int], bytes] = io.BytesIO.read,
        is_last: Callable[[bytes], object] | None = None,
    ) -> bytes:
        """Return `data`, the end of `chunk`, with the bytes that follow: `size` in all, or up to a part that is last.

        If the next chunk cannot be had, the bytes of those before it stay in the buffer.
        """
        parts, missing = [data] if data else [], size - len(data)
        try:
            with self._own_lock():
                if chunk is not NO_CHUNK:
                    self._leave(chunk)
                while missing > 0:
                    chunk = self._chunk
                    if chunk is not NO_CHUNK:
                        part = read(chunk[0], missing)
                        self._leave(chunk)
                    elif self._failure is None:
                        part = self._next_chunk(missing if read is io.BytesIO.read else 0)
                    else:
                        break
                    if part:
                        parts.append(part)
                        missing -= len(part)
                        if is_last is not None and is_last(part):
                            break
        except StopIteration:
            pass
        except BaseException as error:
            self._failure = f"the stream failed earlier with {repr_of(error)}: read the source anew"
            before = b"".join(parts)
            self._set_chunk((io.BytesIO(before), len(before)))
            raise
        if missing > 0 and not parts and self._failure is not None:
            raise OSError(self._failure)
        return b"".join(parts)

    def _own_lock(self) -> threading.RLock:
        """Return the lock; a forked child makes its own, since a thread of the parent may have held the other."""
        if self._process is not forks.this_process():
            self._process, self._lock = forks.current, threading.RLock()
        return self._lock

    def _next_chunk(self, most: int) -> bytes:
        """Return the next chunk if it has at most `most` bytes. Begin to read a longer one, and return nothing."""
        data = next(self._iterator)
        if type(data) is not bytes:
            data = as_bytes(data, self._iterator)
        if len(data) <= most:
            return data
        self._set_chunk((io.BytesIO(data), len(data)))
        return b""

    def _leave(self, chunk: _Chunk) -> None:
        """Free a chunk that has been read to its end: other files may share it."""
        if self._chunk is chunk and chunk[0].tell() >= chunk[1]:
            self._set_chunk(NO_CHUNK)

    def _set_chunk(self, chunk: _Chunk) -> None:
        self._chunk = chunk
        if self.closed:  # meanwhile, by another thread
            self._chunk = _CLOSED


def _ends_line(part: bytes) -> bool:
    return part.endswith(b"\n")


def _limit(size: int | None) -> int:
    return sys.maxsize if size is None or size < 0 else size
