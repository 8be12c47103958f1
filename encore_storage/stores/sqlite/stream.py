"""The bytes of a value, and the rows that keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from encore_storage.errors import ConflictError, IntegrityError
from encore_storage.stores.sqlite.connection import Row
from encore_storage.streams import MEBIBYTE
from encore_storage.value import Entry

ROW_SIZE: Final = MEBIBYTE
"""How many bytes of a value each row has; the last one has the rest. Part of the layout."""


def regrouped(chunks: Iterable[bytes]) -> Iterator[bytes | bytearray]:
    """The same bytes in rows, whatever the sizes of the chunks.

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


class Reading(Protocol):
    """Something to read rows from for a while."""

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement."""

    def close(self) -> None:
        """Give up what is held for it."""


class Latest:
    """Reads whatever is there at the moment, and holds nothing.

    Args:
        read: reads all rows, as `read(statement, *parameters)`.
    """

    def __init__(self, read: Callable[..., list[Row]]) -> None:
        """Read by that function."""
        self._read = read

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement."""
        return self._read(statement, *parameters)

    def close(self) -> None:
        """Do nothing."""


class ChunkStream(Iterator[bytes]):
    """The bytes `[start, end)` of the value that `entry` is of, at least one, as much of a row at a time as is wanted.

    The first row is read at once: from then on a snapshot keeps the others. What is read from is closed with the last
    row or an error.

    Args:
        reading: where the rows are read from.
        key: of the value, for errors.
        store: the name of the store, for errors.
        entry: its token is the number of the blob.
        start: the first byte.
        end: the one after the last.

    Raises:
        ConflictError: here or while iterating, the value was replaced or deleted.
        IntegrityError: here or while iterating, a row has lost bytes.
    """

    def __init__(self, reading: Reading, key: str, store: str, entry: Entry, start: int, end: int) -> None:
        """Open the stream; see the class."""
        self._reading = reading
        self._key = key
        self._store = store
        self._blob: int = entry.token
        self._position = start
        self._end = end
        self._first: bytes | None = self._next_row()

    def __next__(self) -> bytes:
        """The next bytes."""
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._position == self._end:
            raise StopIteration
        return self._next_row()

    def close(self) -> None:
        """Want no more bytes."""
        self._position = self._end
        self._first = None
        self._reading.close()

    def _next_row(self) -> bytes:
        try:
            data = self._read_row()
        except BaseException:
            self._reading.close()
            raise
        self._position += len(data)
        if self._position == self._end:
            self._reading.close()
        return data

    def _read_row(self) -> bytes:
        number, offset = divmod(self._position, ROW_SIZE)
        size = min(ROW_SIZE - offset, self._end - self._position)
        rows = self._reading.read("SELECT data FROM chunk WHERE blob = ? AND number = ?", self._blob, number)
        if not rows:
            raise ConflictError(self._key, self._store)
        data: bytes = rows[0][0][offset : offset + size]
        if len(data) != size:
            raise IntegrityError(f"bytes of the value under key {self._key!r} in store {self._store!r} are missing")
        return data
