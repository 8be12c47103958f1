"""Reading and writing the bytes of a value as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from encore_storage.errors import ConflictError, IntegrityError
from encore_storage.stores.sqlite.connection import Row
from encore_storage.streams import MEBIBYTE, SeekableChunks
from encore_storage.value import Entry

ROW_SIZE: Final = MEBIBYTE  # bytes of a value in each row but the last; part of the layout


def regrouped(chunks: Iterable[bytes]) -> Iterator[bytes | bytearray]:
    """Yield the same bytes in rows, whatever the sizes of the chunks.

    >>> [len(row) for row in regrouped([b"some", b"", bytes(ROW_SIZE)])]
    [1048576, 4]
    """
    buffer = bytearray()
    for chunk in chunks:
        for start in range(0, len(chunk), ROW_SIZE):
            buffer += chunk[start : start + ROW_SIZE]
            if len(buffer) >= ROW_SIZE:
                yield buffer[:ROW_SIZE]
                del buffer[:ROW_SIZE]
    if buffer:
        yield buffer


class RowReader(Protocol):
    """A reader of rows, to be closed after use."""

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement."""

    def close(self) -> None:
        """Release the reader's resources."""


class LiveReader:
    """A reader of the rows as they are at each call of the function `read`. It holds no resources."""

    def __init__(self, read: Callable[..., list[Row]]) -> None:
        self.read = read

    def close(self) -> None:
        """Do nothing."""


class ChunkStream(SeekableChunks):
    """An iterator over the bytes `[start, end)` of a value, at least one byte, by rows.

    The first row is read at once: from then on, a snapshot preserves the others. The reader is closed after the last
    row, an error, or `close()`. A seek after that opens another, which finds the same bytes or none.

    Args:
        opener: opens a reader.
        key: the key.
        store: the name of the store.
        entry: the entry of the value.
        start: the first byte.
        end: the byte after the last.

    Raises:
        ConflictError: here or while iterating, the value was replaced or deleted.
        IntegrityError: here or while iterating, a row has lost bytes.
    """

    def __init__(
        self, opener: Callable[[], RowReader], key: str, store: str, entry: Entry, start: int, end: int
    ) -> None:
        super().__init__(end - start)
        self._opener = opener
        self._key = key
        self._store = store
        self._blob: int = entry.token
        self._start = start
        self._reader: RowReader | None = None
        self._first: bytes | None = None
        try:
            self._first = self.read_at(0, self.size)
        except BaseException:
            self.release()
            raise
        if len(self._first) == self.size:
            self.release()

    def read_at(self, position: int, size: int) -> bytes:
        """Return at most `size` bytes of one row. Raises ConflictError and IntegrityError."""
        first, self._first = self._first, None
        if first is not None and position == 0:
            return first[:size]
        if self._reader is None:
            self._reader = self._opener()
        number, offset = divmod(self._start + position, ROW_SIZE)
        size = min(ROW_SIZE - offset, size)
        rows = self._reader.read("SELECT data FROM chunk WHERE blob = ? AND number = ?", self._blob, number)
        if not rows:
            raise ConflictError(self._key, self._store)
        data: bytes = rows[0][0][offset : offset + size]
        if len(data) != size:
            raise IntegrityError(
                f"bytes are missing from the value under key {self._key!r} in store {self._store!r}: set it again"
            )
        return data

    def release(self) -> None:
        """Close the reader."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
