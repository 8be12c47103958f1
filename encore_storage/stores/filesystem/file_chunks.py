"""The bytes of a file, in chunks: those that were looked up, or an error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator

from encore_storage.errors import ConflictError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.tree import Token
from encore_storage.streams import MEBIBYTE, buffer_iterator


class FileChunks(Iterator[bytes]):
    """Some bytes of an open file, which is closed at their end, by `close()`, or when this is collected.

    The last of them come only if the file has not been changed in place meanwhile.

    Args:
        file: the file.
        token: the one that it must have.
        start: where the bytes begin.
        size: how many they are.
        replaced: what is raised if they are no longer to be had.
    """

    def __init__(self, file: Descriptors, token: Token, start: int, size: int, replaced: ConflictError) -> None:
        """Check that the file has the token; it is closed if not."""
        self._file = _OpenFile(file, start)
        if self._file.token() != token:
            file.close()
            raise replaced
        self._chunks = _read(self._file, token, size, replaced)

    def __next__(self) -> bytes:
        """Return the next chunk. Raises ConflictError."""
        return next(self._chunks)

    def close(self) -> None:
        """Close the file."""
        self._chunks.close()
        self._file.close()


class _OpenFile:
    """A file that is read from a place of its own: that of the descriptor is shared with forked children."""

    def __init__(self, file: Descriptors, start: int) -> None:
        self._file = file
        self._offset = start

    def read(self, size: int, /) -> bytes:
        data = os.pread(self._file[0], size, self._offset)
        self._offset += len(data)
        return data

    def token(self) -> Token:
        return Token.of(os.fstat(self._file[0]))

    def close(self) -> None:
        self._file.close()


def _read(file: _OpenFile, token: Token, size: int, replaced: ConflictError) -> Generator[bytes, None, None]:
    with contextlib.closing(file):
        for chunk in buffer_iterator(file, MEBIBYTE, max_bytes=size):
            size -= len(chunk)
            if not size and file.token() != token:
                raise replaced
            yield chunk
        if size:
            raise replaced
