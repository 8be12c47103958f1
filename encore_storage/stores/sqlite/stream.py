"""Reading and writing the bytes of a value as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from encore_storage.errors import ConflictError, IntegrityError
from encore_storage.stores.sqlite.connection import Row
from encore_storage.streams import MEBIBYTE
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


class ChunkStream(Iterator[bytes]):
    """An iterator over the bytes `[start, end)` of a value, at least one byte, by rows.

    The first row is read at once: from then on, a snapshot preserves the others. The reader is closed after the last
    row or an error.

    Raises:
        ConflictError: here or while iterating, the value was replaced or deleted.
        IntegrityError: here or while iterating, a row has lost bytes.
    """

    def __init__(self, reader: RowReader, key: str, store: str, entry: Entry, start: int, end: int) -> None:
        self._reader = reader
        self._key = key
        self._store = store
        self._blob: int = entry.token
        self._position = start
        self._end = end
        self._first: bytes | None = self._next_row()

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._position == self._end:
            raise StopIteration
        return self._next_row()

    def close(self) -> None:
        """End the iteration and close the reader."""
        self._position = self._end
        self._first = None
        self._reader.close()

    def _next_row(self) -> bytes:
        try:
            data = self._read_row()
        except BaseException:
            self._reader.close()
            raise
        self._position += len(data)
        if self._position == self._end:
            self._reader.close()
        return data

    def _read_row(self) -> bytes:
        number, offset = divmod(self._position, ROW_SIZE)
        size = min(ROW_SIZE - offset, self._end - self._position)
        rows = self._reader.read("SELECT data FROM chunk WHERE blob = ? AND number = ?", self._blob, number)
        if not rows:
            raise ConflictError(self._key, self._store)
        data: bytes = rows[0][0][offset : offset + size]
        if len(data) != size:
            raise IntegrityError(
                f"bytes are missing from the value under key {self._key!r} in store {self._store!r}: set it again"
            )
        return data
