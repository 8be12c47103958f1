"""Splitting one file into several."""

from __future__ import annotations

import threading

from encore_events.forks import this_process
from encore_events.text import repr_of
from encore_storage.errors import ForkedStoreError
from encore_storage.streams.chunk_file import ChunkFile
from encore_storage.streams.reader import BufferIteratorIO
from encore_storage.streams.sources import MEBIBYTE, Readable, as_bytes, check_int, check_source


def tee(filelike: Readable, n: int = 2, buffer_size: int = MEBIBYTE) -> list[BufferIteratorIO]:
    """Split a file-like object into `n` files, each of which returns all of its bytes independently.

    Each is a `BufferIteratorIO` whose `read()` reads to the end.

    The source is read once, one chunk at a time, when the first file needs that chunk. It stays open. The files may
    be read in different threads. They share chunks, and a chunk is freed when the last file reads what follows it. A
    closed or collected file holds nothing back. An error of the source is raised by every file that reaches it.

    >>> import io
    >>> head, whole = tee(io.BytesIO(b"observable"))
    >>> head.read(7), whole.read()
    (b'observa', b'observable')

    Args:
        filelike: the source; its `read(size)` returns bytes. It must not read from the files itself.
        n: number of files.
        buffer_size: bytes to request per read of the source.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `n` is negative, or `buffer_size` is not positive.
        ForkedStoreError: while reading, in a forked child; the source belongs to its parent.
    """
    check_source(filelike)
    check_int("n", n, least=0)
    check_int("buffer_size", buffer_size, least=1)
    source, link = _TeeSource(filelike, buffer_size), _Link()
    return [ChunkFile(iter(_TeeReader(source, link), b"")) for _ in range(n)]


class _Link:
    """A position in a teed stream. Only readers at a position refer to it, so links behind all readers are freed."""

    __slots__ = ("error", "step")

    def __init__(self) -> None:
        self.step: tuple[bytes, _Link] | None = None  # the chunk that begins here and the link after it, once read
        self.error: Exception | None = None


class _TeeReader:
    """A callable that returns the chunks from a link on, one per call, and b"" at the end."""

    def __init__(self, source: _TeeSource, link: _Link) -> None:
        self._source = source
        self._link = link

    def __call__(self) -> bytes:
        chunk, self._link = self._link.step or self._source.read_at(self._link)
        return chunk


class _TeeSource:
    """A source of which each chunk is read once, for the first reader that needs it."""

    def __init__(self, filelike: Readable, buffer_size: int) -> None:
        self._filelike = filelike
        self._buffer_size = buffer_size
        # Held while the source is read: only readers that need this very chunk acquire it, and they have to wait.
        # Reentrant, so that a source that reads from its own tee raises an error instead of deadlocking.
        self._lock = threading.RLock()
        self._is_reading = False
        self._process = this_process()

    def read_at(self, link: _Link) -> tuple[bytes, _Link]:
        """Return the step from `link`, read from the source unless another reader has done so."""
        if self._process is not this_process():  # checked first: in a child, nobody would release the lock
            raise ForkedStoreError(
                f"a tee of {self._filelike!r}", self._process.pid, "open the source here, and tee that"
            )
        with self._lock:
            if link.error is not None:
                raise link.error
            if link.step is not None:
                return link.step
            if self._is_reading:
                raise RuntimeError(f"{self._filelike!r} reads from its own tee")
            self._is_reading = True
            try:
                link.step = as_bytes(self._filelike.read(self._buffer_size), self._filelike), _Link()
            except BaseException as error:
                link.error = (
                    error if isinstance(error, Exception) else OSError(f"reading was interrupted by {repr_of(error)}")
                )
                raise
            finally:
                self._is_reading = False
            return link.step
