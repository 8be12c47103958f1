"""One file read as several."""

from __future__ import annotations

import threading

from encore_events.forks import this_process
from encore_storage.errors import ForkedStoreError
from encore_storage.streams.reader import BufferIteratorIO
from encore_storage.streams.sources import MEBIBYTE, Readable, as_bytes, check_int, check_source


def tee(filelike: Readable, n: int = 2, buffer_size: int = MEBIBYTE) -> list[BufferIteratorIO]:
    """The bytes of a file-like object n times over, as n files that are read independently.

    The source is read once, a chunk at a time, when the first of the files needs it; it stays open. The files may be
    read in different threads. They share the chunks, and a chunk is kept until the last file has passed it; a file that
    is closed or collected keeps nothing. An error of the source comes out of every file that is read up to it. In a
    forked child that is a ForkedStoreError, since the source is the parent's.

    >>> import io
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
    check_source(filelike)
    check_int("n", n, least=0)
    check_int("buffer_size", buffer_size, least=1)
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
                link.step = as_bytes(self._filelike.read(self._buffer_size), self._filelike), _Link()
            except BaseException as error:
                link.error = error if isinstance(error, Exception) else OSError(f"reading was broken off by {error!r}")
                raise
            finally:
                self._reading = False
            return link.step
