"""Chunks read as a file."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from encore_storage.streams.sources import MEBIBYTE, as_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class BufferIteratorIO(io.BufferedIOBase):
    """A file to read from, made of an iterable of chunks: whatever their sizes, at a cost linear in their bytes.

    A chunk is anything bytes-like, and may be empty. Closing the file closes the iterator too, if it has a `close()`
    as generators have.

    An error of the iterator comes out of the read that met it, and loses nothing: the next read gives the bytes that
    had come until then, and every later one raises OSError, so that no broken stream looks like one that has ended.

    >>> BufferIteratorIO([b"observe ", b"", b"every byte"]).read(10)
    b'observe ev'

    Args:
        iterator: The chunks, such as `buffer_iterator` gives.
    """

    _iterator: Iterator[ReadableBuffer] = iter(())  # for the finalizer, which closes also what could not be made

    def __init__(self, iterator: Iterable[ReadableBuffer]) -> None:
        self._iterator = iter(iterator)
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # where the unread bytes of the first chunk begin
        self._buffered = 0  # unread bytes in all chunks
        self._failure: str | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._buffered} bytes buffered"
        return f"<{type(self).__name__}: {state}>"

    def readable(self) -> bool:
        """True: reading is all that can be done with it."""
        self._check_open()
        return True

    def read(self, buffer_size: int | None = MEBIBYTE) -> bytes:
        """The next buffer_size bytes, fewer only at the end; with None or a negative number all that are left."""
        self._check_open()
        size = _most(buffer_size)
        self._fill(size)
        return self._take(size)

    def read1(self, size: int | None = -1, /) -> bytes:
        """The next bytes that take no more than one chunk from the iterator, and none if some are buffered."""
        self._check_open()
        size = _most(size)
        self._fill(min(size, 1))
        return self._take_first(size) if self._chunks else b""

    def readline(self, size: int | None = -1, /) -> bytes:
        """The bytes up to and with the next newline, at most size of them unless that is None or negative."""
        self._check_open()
        return self._take(self._line_length(_most(size)))

    def close(self) -> None:
        """Drop what is buffered and close the iterator; reading afterwards is a ValueError."""
        super().close()
        iterator, self._iterator = self._iterator, iter(())
        self._chunks = deque()
        if hasattr(iterator, "close"):
            iterator.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _fill(self, size: int) -> None:
        """Buffer size bytes or all that are left; take nothing, so that an error on the way loses nothing."""
        try:
            while self._buffered < size and self._failure is None:
                self._append(next(self._iterator))
        except StopIteration:
            return
        except BaseException as error:
            self._failure = f"the chunks broke off with {error!r}"
            raise
        if self._failure is not None and size and not self._buffered:
            raise OSError(self._failure)

    def _append(self, chunk: ReadableBuffer) -> None:
        data = as_bytes(chunk, self._iterator)
        if data:
            self._chunks.append(data)
            self._buffered += len(data)

    def _take(self, size: int) -> bytes:
        """The first size bytes of what is buffered; a whole chunk is not copied."""
        parts = []
        while size and self._chunks:
            part = self._take_first(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _take_first(self, size: int) -> bytes:
        """At most size bytes of the first chunk."""
        chunk = self._chunks[0]
        part = chunk[self._offset : self._offset + size]
        self._offset += len(part)
        self._buffered -= len(part)
        if self._offset == len(chunk):
            self._chunks.popleft()
            self._offset = 0
        return part

    def _line_length(self, limit: int) -> int:
        """The length of the next line, cut at limit; each chunk of it is buffered and searched once."""
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


def _most(size: int | None) -> int:
    """The most bytes that a read of size may give."""
    return sys.maxsize if size is None or size < 0 else size
