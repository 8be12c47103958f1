"""The bytes of a file in chunks, guaranteed to be those of the look-up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator

from encore_storage.errors import ConflictError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.tree import Token
from encore_storage.streams import MEBIBYTE, buffer_iterator


class FileChunks(Iterator[bytes]):
    """An iterator over bytes of an open file, which is closed at their end, by `close()`, or when this is collected.

    The last chunk is only returned if the file has not been changed in place meanwhile.

    Args:
        file: the file.
        token: the token that it must have.
        start: the first byte.
        size: the number of bytes.
        conflict: the error to raise if the file has changed, here or while iterating.
    """

    def __init__(self, file: Descriptors, token: Token, start: int, size: int, conflict: ConflictError) -> None:
        self._file = _OpenFile(file, start)
        if self._file.token() != token:
            file.close()
            raise conflict
        self._chunks = _read(self._file, token, size, conflict)

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Close the file."""
        self._chunks.close()
        self._file.close()


class _OpenFile:
    """A file with a read position of its own: forked children share that of the descriptor."""

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


def _read(file: _OpenFile, token: Token, size: int, conflict: ConflictError) -> Generator[bytes, None, None]:
    with contextlib.closing(file):
        for chunk in buffer_iterator(file, MEBIBYTE, max_bytes=size):
            size -= len(chunk)
            if not size and file.token() != token:
                raise conflict
            yield chunk
        if size:
            raise conflict
