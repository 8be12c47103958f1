"""The bytes of a file, in chunks: those that were looked up, or an error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator

from encore_storage.errors import ConflictError
from encore_storage.stores._tree import Token
from encore_storage.streams import MEBIBYTE, buffer_iterator


class FileChunks(Iterator[bytes]):
    """Some bytes of an open file, which is closed at their end, by `close()`, or when this is collected.

    The last of them come only if the file has not been changed in place meanwhile.

    Args:
        fd: the file.
        token: the one that it must have.
        start: where the bytes begin.
        size: how many they are.
        replaced: what is raised if they are no longer to be had.
    """

    def __init__(self, fd: int, token: Token, start: int, size: int, replaced: ConflictError) -> None:
        """Check that the file has the token; it is closed if not."""
        self._file = _OpenFile(fd)
        if self._file.token() != token:
            raise replaced
        os.lseek(fd, start, os.SEEK_SET)
        self._chunks = _read(self._file, token, size, replaced)

    def __next__(self) -> bytes:
        """The next chunk. Raises ConflictError."""
        return next(self._chunks)

    def close(self) -> None:
        """Close the file."""
        self._chunks.close()
        self._file.close()


_CLOSED = -1


class _OpenFile:
    """A file that is closed without a warning when it is collected: that it was abandoned, the operation tells."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, size)

    def token(self) -> Token:
        return Token.of(os.fstat(self._fd))

    def close(self) -> None:
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            os.close(fd)

    __del__ = close


def _read(file: _OpenFile, token: Token, size: int, replaced: ConflictError) -> Generator[bytes, None, None]:
    with contextlib.closing(file):
        for chunk in buffer_iterator(file, MEBIBYTE, max_bytes=size):
            size -= len(chunk)
            if not size and file.token() != token:
                raise replaced
            yield chunk
        if size:
            raise replaced
