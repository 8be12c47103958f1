"""The bytes of a file in chunks, guaranteed to be those of the look-up."""

from __future__ import annotations

import os

from encore_storage.errors import ConflictError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.tree import Token, Tree
from encore_storage.streams import MEBIBYTE, SeekableChunks


class FileChunks(SeekableChunks):
    """An iterator over bytes of a file, which is opened here, and closed at their end, by `close()`, or by collection.

    The last chunk, and each chunk after a seek, is only returned if the file has not been changed in place meanwhile.

    Args:
        tree: the directory of the store.
        key: the key.
        store: the name of the store.
        token: the token that the file must have.
        start: the first byte.
        size: the number of bytes.

    Raises:
        ConflictError: here or while iterating, the file was replaced, changed or deleted.
    """

    def __init__(self, tree: Tree, key: str, store: str, token: Token, start: int, size: int) -> None:
        super().__init__(size)
        self._tree = tree
        self._key = key
        self._store = store
        self._token = token
        self._start = start
        self._file = self._opened()

    def read_at(self, position: int, size: int) -> bytes:
        """Return at most a mebibyte from `position` on. Raises ConflictError."""
        if not self._file:
            self._file = self._opened()
        data = os.pread(self._file[0], min(size, MEBIBYTE), self._start + position)  # forked children share a position
        is_last = position + len(data) == self.size
        if not data or ((is_last or self.stays_open) and self._token_of(self._file) != self._token):
            raise ConflictError(self._key, self._store)
        return data

    def release(self) -> None:
        """Close the file."""
        self._file.close()

    def _opened(self) -> Descriptors:
        try:
            file = self._tree.open(self._key, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConflictError(self._key, self._store) from error
        if self._token_of(file) != self._token:
            file.close()
            raise ConflictError(self._key, self._store)
        return file

    def _token_of(self, file: Descriptors) -> Token:
        return Token.of(os.fstat(file[0]))
