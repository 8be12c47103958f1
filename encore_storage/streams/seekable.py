"""Chunks that can be read from any position."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator

_FIRST_AFTER_SEEK = 65536  # who seeks may need few bytes


class SeekableChunks(Iterator[bytes], ABC):
    """An iterator over bytes in chunks, which can be moved. A subclass implements `read_at`.

    Its resources are released with the last chunk, after an error, and by `close()`. Once `stays_open` is true, the
    last chunk does not release them.

    Args:
        size: the number of bytes.

    Attributes:
        size: the number of bytes.
        position: the first byte of the next chunk.
        stays_open: whether the resources are kept after the last chunk.
    """

    stays_open = False

    def __init__(self, size: int) -> None:
        self.size = size
        self.position = 0
        self._most = sys.maxsize  # bytes of the next chunk; 0 once it was closed or has failed

    @abstractmethod
    def read_at(self, position: int, size: int) -> bytes:
        """Return at least one and at most `size` of the bytes from `position` on; reopen released resources."""

    def release(self) -> None:
        """Release the resources. Any thread may call this, any number of times."""

    def seek(self, position: int) -> None:
        """Continue with the byte at `position`, at most the size. Short chunks come first."""
        self.position = position
        self._most = _FIRST_AFTER_SEEK

    def close(self) -> None:
        """End the iteration and release the resources."""
        self._most = 0
        self.release()

    def __next__(self) -> bytes:
        left = self.size - self.position
        if left <= 0 or not self._most:
            raise StopIteration
        size = min(self._most, left)
        try:
            chunk = self.read_at(self.position, size)
        except BaseException:
            self._most = 0
            self.release()
            raise
        self.position += len(chunk)
        if len(chunk) == left and not self.stays_open:
            self.release()
        elif size < left:
            self._most *= 2
        return chunk


class DataChunks(SeekableChunks):
    """Chunks of bytes in memory: one chunk that is not copied, until a seek."""

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data))
        self._data = data

    def read_at(self, position: int, size: int) -> bytes:
        """Return `size` of the bytes from `position` on."""
        return self._data[position : position + size]
