"""A file read as chunks."""

from __future__ import annotations

import sys
from collections.abc import Generator
from types import MethodType
from typing import Protocol

from encore_storage.streams.sources import MEBIBYTE, Readable, as_bytes, check_int, check_source


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

    >>> import io
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
    check_source(filelike)
    check_int("buffer_size", buffer_size, least=1)
    if max_bytes is None:
        max_bytes = sys.maxsize
    check_int("max_bytes", max_bytes, least=0)
    if progress is not None:
        progress = _fast_call(progress)
    return _read_chunks(filelike, buffer_size, progress, max_bytes)


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
            chunk = as_bytes(chunk, source)
        if not chunk:
            return
        length = len(chunk)
        if length > size:
            raise OSError(f"{source!r} gave {length} bytes when asked for {size}")
        total += length
        if progress is not None:
            progress(step=total)
        yield chunk


def _fast_call(progress: Progress) -> Progress:
    """The progress, as its bound `__call__` where it is an object: calling that takes half the time."""
    if not callable(progress):
        raise TypeError(f"progress must be callable, not {progress!r}")
    call = progress.__call__
    return call if isinstance(call, MethodType) else progress
