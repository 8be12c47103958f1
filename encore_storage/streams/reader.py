"""Reading chunks as a file."""

from __future__ import annotations

import contextlib
import io
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from encore_events.text import repr_of
from encore_storage.errors import UnpicklableError
from encore_storage.streams.sources import MEBIBYTE, as_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # start of the unread bytes of the first chunk
        self._buffered = 0  # unread bytes in all chunks
        self._failure: str | None = None

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
        self._check_open()
        size = _limit(buffer_size)
        self._fill(size)
        return self._take(size)

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` buffered bytes; if none are buffered, request one chunk from the iterator first."""
        self._check_open()
        size = _limit(size)
        self._fill(min(size, 1))
        return self._take_first(size) if self._chunks else b""

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the bytes up to and including the next newline, at most `size` unless it is None or negative."""
        self._check_open()
        return self._take(self._line_length(_limit(size)))

    def close(self) -> None:
        """Discard buffered bytes and close the iterator. Later reads raise ValueError."""
        super().close()
        iterator, self._iterator = self._iterator, iter(())
        self._chunks = deque()
        if hasattr(iterator, "close"):
            iterator.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _fill(self, size: int) -> None:
        """Buffer `size` bytes or all that remain; an error leaves the buffer intact."""
        try:
            while self._buffered < size and self._failure is None:
                self._append(next(self._iterator))
        except StopIteration:
            return
        except BaseException as error:
            self._failure = f"the stream failed earlier with {repr_of(error)}: read the source anew"
            raise
        if self._failure is not None and size and not self._buffered:
            raise OSError(self._failure)

    def _append(self, chunk: ReadableBuffer) -> None:
        data = as_bytes(chunk, self._iterator)
        if data:
            self._chunks.append(data)
            self._buffered += len(data)

    def _take(self, size: int) -> bytes:
        """Remove and return at most `size` buffered bytes, without copying a whole chunk."""
        parts = []
        while size and self._chunks:
            part = self._take_first(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _take_first(self, size: int) -> bytes:
        """Remove and return at most `size` bytes of the first chunk, none if another thread has taken it."""
        try:
            chunk = self._chunks[0]
        except IndexError:
            return b""
        part = chunk[self._offset : self._offset + size]
        self._offset += len(part)
        self._buffered -= len(part)
        if self._offset >= len(chunk):
            with contextlib.suppress(IndexError):  # as above
                self._chunks.popleft()
            self._offset = 0
        return part

    def _skip(self, size: int) -> None:
        """Remove `size` buffered bytes; a negative `size` restores removed bytes of the first chunk."""
        self._buffered -= size
        self._offset += size
        while self._chunks and self._offset >= len(self._chunks[0]):
            self._offset -= len(self._chunks.popleft())

    def _line_length(self, limit: int) -> int:
        """Return the length of the next line, at most `limit`. Each chunk is buffered and searched once."""
        length, searched, start = 0, 0, self._offset
        while length < limit:
            self._fill(length + 1)
            if self._buffered == length:
                break
            chunk = self._chunks[searched]
            newline = chunk.find(b"\n", start, start + limit - length)
            if newline >= 0:
                return length + newline + 1 - start
            length += len(chunk) - start
            searched, start = searched + 1, 0
        return min(length, limit)


def _limit(size: int | None) -> int:
    return sys.maxsize if size is None or size < 0 else size
