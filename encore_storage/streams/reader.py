"""Reading chunks as a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from encore_events.text import repr_of
from encore_storage.errors import UnpicklableError
from encore_storage.streams.sources import MEBIBYTE, as_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NONE = io.BytesIO()
_CLOSED = io.BytesIO()
_CLOSED.close()


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
        self._chunk = _NONE  # being read: its own reads are those of C
        self._left = 0  # unread bytes of the chunk
        self._failure: str | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._left} bytes buffered"
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
        data = self._chunk.read(buffer_size)
        if len(data) != buffer_size:
            return self._read_on(data, _limit(buffer_size))
        self._left -= buffer_size
        return data if self._left else self._last_of_chunk(data)

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` buffered bytes; if none are buffered, request one chunk from the iterator first."""
        data = self._chunk.read1(size)
        if not data and size != 0:
            return self._read_on(data, _limit(size), is_last=len)
        self._left -= len(data)
        return data if self._left else self._last_of_chunk(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the bytes up to and including the next newline, at most `size` unless it is None or negative."""
        line = self._chunk.readline(size)
        if not line.endswith(b"\n"):
            return self._read_on(line, _limit(size), io.BytesIO.readline, _ends_line)
        self._left -= len(line)
        return line if self._left else self._last_of_chunk(line)

    def close(self) -> None:
        """Discard buffered bytes and close the iterator. Later reads raise ValueError."""
        super().close()
        iterator, self._iterator = self._iterator, iter(())
        self._chunk = _CLOSED
        if hasattr(iterator, "close"):
            iterator.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _last_of_chunk(self, data: bytes) -> bytes:
        """Return `data`, and free the chunk: other streams may share it."""
        self._left, self._chunk = 0, _CLOSED if self.closed else _NONE
        return data

    def _read_on(
        self,
        data: bytes,
        size: int,
        read: Callable[[io.BytesIO, int], bytes] = io.BytesIO.read,
        is_last: Callable[[bytes], object] | None = None,
    ) -> bytes:
        """Return `data`, the end of its chunk, with the bytes that follow: `size` in all, or up to a part that is last.

        If the next chunk cannot be had, the bytes of those before it stay in the buffer.
        """
        self._left -= len(data)
        parts, missing = [data] if data else [], size - len(data)
        if self._failure is not None and missing > 0 and not parts:
            raise OSError(self._failure)
        try:
            while missing > 0 and self._failure is None:
                self._left, self._chunk = 0, _NONE  # frees the one before, while the next one is made
                chunk = next(self._iterator)
                self._begin_chunk(chunk if type(chunk) is bytes else as_bytes(chunk, self._iterator))
                part = read(self._chunk, missing)
                self._left -= len(part)
                parts.append(part)
                missing -= len(part)
                if is_last is not None and is_last(part):
                    break
        except StopIteration:
            pass
        except BaseException as error:
            self._failure = f"the stream failed earlier with {repr_of(error)}: read the source anew"
            self._begin_chunk(b"".join(parts))
            raise
        data = b"".join(parts)
        return data if self._left else self._last_of_chunk(data)

    def _begin_chunk(self, chunk: bytes) -> None:
        self._left = len(chunk)
        self._chunk = _CLOSED if self.closed else io.BytesIO(chunk)


def _ends_line(part: bytes) -> bool:
    return part.endswith(b"\n")


def _limit(size: int | None) -> int:
    return sys.maxsize if size is None or size < 0 else size
