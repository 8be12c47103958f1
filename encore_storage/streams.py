"""Streams of bytes: a file read as chunks, chunks read as a file, and one file read as several."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Protocol

from encore_events.forks import this_process
from encore_storage.errors import ForkedStoreError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["BufferIteratorIO", "buffer_iterator", "tee"]

MEBIBYTE = 1048576


class Readable(Protocol):
    """A source of bytes, such as a file opened in binary mode."""

    def read(self, size: int, /) -> ReadableBuffer:
        """At most size bytes, and none at the end."""


class Progress(Protocol):
    """Whom `buffer_iterator` tells how far it is."""

    def __call__(self, *, step: int) -> object:
        """Take note that step bytes have been read in all."""


def buffer_iterator(
    filelike: Readable,
    buffer_size: int = MEBIBYTE,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> Generator[bytes, None, None]:
    """The bytes of a file-like object, in chunks of at most buffer_size bytes.

    The arguments are checked at once, the source is read as the iterator is. A source that reads short gives shorter
    chunks; no read asks for more than is left of max_bytes. The source stays open.

    >>> list(buffer_iterator(io.BytesIO(b"observable"), buffer_size=4, max_bytes=6))
    [b'obse', b'rv']

    Args:
        filelike: The source; its `read(size)` gives bytes.
        buffer_size: The number of bytes to read at a time.
        progress: Called as `progress(step=total)` for each chunk, before it is handed out.
        max_bytes: The number of bytes to read in all; None reads to the end.

    Raises:
        TypeError: An argument is of the wrong type; or, while iterating, the source gives something else than bytes.
        ValueError: buffer_size is not positive or max_bytes is negative.
        BlockingIOError: While iterating: the source does not block and has nothing to give yet.
        OSError: While iterating: the source gives more bytes than it was asked for.
    """
    _check_source(filelike)
    _check_int("buffer_size", buffer_size, least=1)
    if max_bytes is None:
        max_bytes = sys.maxsize
    _check_int("max_bytes", max_bytes, least=0)
    if progress is not None:
        progress = _fast_call(progress)
    return _read_chunks(filelike, buffer_size, progress, max_bytes)


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
        data = _as_bytes(chunk, self._iterator)
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


def tee(filelike: Readable, n: int = 2, buffer_size: int = MEBIBYTE) -> list[BufferIteratorIO]:
    """The bytes of a file-like object n times over, as n files that are read independently.

    The source is read once, a chunk at a time, when the first of the files needs it; it stays open. The files may be
    read in different threads. They share the chunks, and a chunk is kept until the last file has passed it; a file that
    is closed or collected keeps nothing. An error of the source comes out of every file that is read up to it. In a
    forked child that is a ForkedStoreError, since the source is the parent's.

    >>> head, whole = tee(io.BytesIO(b"observable"))
    >>> head.read(7), whole.read()
    (b'observa', b'observable')

    Args:
        filelike: The source; its `read(size)` gives bytes. It can't itself read from the files.
        n: The number of files.
        buffer_size: The number of bytes to read from the source at a time.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: n is negative or buffer_size is not positive.
    """
    _check_source(filelike)
    _check_int("n", n, least=0)
    _check_int("buffer_size", buffer_size, least=1)
    source, link = _TeeSource(filelike, buffer_size), _Link()
    return [BufferIteratorIO(iter(_TeeReader(source, link), b"")) for _ in range(n)]


class _Link:
    """A place in a teed stream. A reader holds the link where it stands; nothing holds a link that all have passed."""

    __slots__ = ("error", "step")

    def __init__(self) -> None:
        self.step: tuple[bytes, _Link] | None = None  # the chunk that begins here and the link after it, once read
        self.error: Exception | None = None


class _TeeReader:
    """Gives the chunks of a teed stream from a link on, one a call, and b"" at the end."""

    def __init__(self, source: _TeeSource, link: _Link) -> None:
        self._source = source
        self._link = link

    def __call__(self) -> bytes:
        chunk, self._link = self._link.step or self._source.read_at(self._link)
        return chunk


class _TeeSource:
    """Reads each chunk of a source once, for whichever reader needs it first."""

    def __init__(self, filelike: Readable, buffer_size: int) -> None:
        self._filelike = filelike
        self._buffer_size = buffer_size
        # Held while the source is read, since only those who need that very chunk ever take it: they have to wait.
        # Reentrant, so that a source which reads its own tee can be told so instead of waiting for itself.
        self._lock = threading.RLock()
        self._reading = False
        self._process = this_process()

    def read_at(self, link: _Link) -> tuple[bytes, _Link]:
        """The step from the link on, read from the source unless another reader was faster."""
        if self._process is not this_process():  # before the lock: nobody would ever release it
            raise ForkedStoreError(
                f"a tee of {self._filelike!r}", self._process.pid, "open the source here, and tee that"
            )
        with self._lock:
            if link.error is not None:
                raise link.error
            if link.step is not None:
                return link.step
            if self._reading:
                raise RuntimeError(f"{self._filelike!r} reads from its own tee")
            self._reading = True
            try:
                link.step = _as_bytes(self._filelike.read(self._buffer_size), self._filelike), _Link()
            except BaseException as error:
                link.error = error if isinstance(error, Exception) else OSError(f"reading was broken off by {error!r}")
                raise
            finally:
                self._reading = False
            return link.step


def _read_chunks(
    source: Readable, buffer_size: int, progress: Progress | None, max_bytes: int
) -> Generator[bytes, None, None]:
    """The loop that every byte of a store goes through: each line here is paid for each chunk."""
    read = source.read
    total, last_full = 0, max_bytes - buffer_size
    while total < max_bytes:
        size = buffer_size if total <= last_full else max_bytes - total
        chunk = read(size)
        if type(chunk) is not bytes:
            chunk = _as_bytes(chunk, source)
        if not chunk:
            return
        length = len(chunk)
        if length > size:
            raise OSError(f"{source!r} gave {length} bytes when asked for {size}")
        total += length
        if progress is not None:
            progress(step=total)
        yield chunk


def _as_bytes(chunk: ReadableBuffer, giver: object) -> bytes:
    """The chunk, copied unless it is immutable: the giver may use its buffer again."""
    if isinstance(chunk, bytes):
        return chunk
    if chunk is None:
        raise BlockingIOError(f"{giver!r} gave None instead of waiting for bytes; it has to block")
    if isinstance(chunk, str):
        raise TypeError(f"{giver!r} gave str, not bytes; open it in binary mode")
    try:
        return memoryview(chunk).tobytes()
    except TypeError:
        raise TypeError(f"{giver!r} gave {type(chunk).__name__}, not bytes") from None


def _most(size: int | None) -> int:
    """The most bytes that a read of size may give."""
    return sys.maxsize if size is None or size < 0 else size


def _check_source(filelike: Readable) -> None:
    if not callable(getattr(filelike, "read", None)):
        kind = type(filelike).__name__
        raise TypeError(f"bytes are read from a file, and a source of type {kind} has no read(): wrap it in io.BytesIO")


def _fast_call(progress: Progress) -> Progress:
    """The progress, as its bound `__call__` where it is an object: calling that takes half the time."""
    if not callable(progress):
        raise TypeError(f"progress must be callable, not {progress!r}")
    call = progress.__call__
    return call if isinstance(call, MethodType) else progress


def _check_int(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
