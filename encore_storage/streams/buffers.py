"""Reading a file in chunks."""

from __future__ import annotations

import sys
from collections.abc import Generator
from types import MethodType
from typing import Protocol

from encore_storage.streams.sources import MEBIBYTE, Readable, as_bytes, check_int, check_source


class Progress(Protocol):
    """A callable that `buffer_iterator` informs of each chunk."""

    def __call__(self, *, step: int) -> object:
        """Note that `step` bytes have been read in total."""


def buffer_iterator(
    filelike: Readable, buffer_size: int = MEBIBYTE, progress: Progress | None = None, max_bytes: int | None = None
) -> Generator[bytes, None, None]:
    """Return an iterator over the bytes of a file-like object, in chunks of at most `buffer_size` bytes.

    Arguments are checked by the call, but nothing is read before the first chunk is requested. A short read yields a
    shorter chunk. The source is never asked for more than `max_bytes` in total, and it stays open.

    >>> import io
    >>> list(buffer_iterator(io.BytesIO(b"observable"), buffer_size=4, max_bytes=6))
    [b'obse', b'rv']

    Args:
        filelike: the source; its `read(size)` returns bytes.
        buffer_size: bytes to request per read.
        progress: called as `progress(step=total)` before each chunk is yielded.
        max_bytes: bytes to read in total; None reads to the end.

    Raises:
        TypeError: an argument has the wrong type; or, while iterating, the source returned something other than bytes.
        ValueError: `buffer_size` is not positive, or `max_bytes` is negative.
        BlockingIOError: while iterating, a non-blocking source had no bytes available.
        OSError: while iterating, the source returned more bytes than were requested.
    """
    check_source(filelike)
    check_int("buffer_size", buffer_size, least=1)
    if max_bytes is None:
        max_bytes = sys.maxsize
    else:
        check_int("max_bytes", max_bytes, least=0)
    if progress is not None:
        progress = _fast_call(progress)
    return _read_chunks(filelike, buffer_size, progress, max_bytes)


def _read_chunks(
    source: Readable, buffer_size: int, progress: Progress | None, max_bytes: int
) -> Generator[bytes, None, None]:
    """Yield the chunks. Every byte of a store passes through this loop, so each line costs once per chunk."""
    read = source.read
    total, last_full = 0, max_bytes - buffer_size
    while total < max_bytes:
        size = buffer_size if total <= last_full else max_bytes - total
        chunk = read(size)
        if type(chunk) is not bytes:
            chunk = as_bytes(chunk, source)
        if not chunk:
            return
        length = len(chunk)
        if length > size:
            raise OSError(f"{source!r} returned {length} bytes from read({size}): return at most what is requested")
        total += length
        if progress is not None:
            progress(step=total)
        yield chunk


def _fast_call(progress: Progress) -> Progress:
    """Return an object's bound `__call__`, which takes half the time to call; return a function unchanged."""
    if not callable(progress):
        raise TypeError(f"progress must be callable, not {progress!r}")
    call = progress.__call__
    return call if isinstance(call, MethodType) else progress
