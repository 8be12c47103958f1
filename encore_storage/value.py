"""A value: its bytes as a file, its metadata, and what else is known of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from encore_storage.metadata import Metadata
from encore_storage.streams import MEBIBYTE, BufferIteratorIO, Progress, buffer_iterator


class ReadableFile(Protocol):
    """A binary file that can be read and closed."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, and none at the end."""

    def close(self) -> object:
        """Release it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store knows of a value without its bytes.

    Attributes:
        size: in bytes.
        metadata: the store's own; copied before anyone else sees it.
        created: seconds since the epoch.
        modified: seconds since the epoch.
        token: whatever tells the store which bytes these are, so that bytes which replaced them are not given instead.
    """

    size: int
    metadata: Metadata
    created: float
    modified: float
    token: Any = field(default=None, repr=False)


class Value:
    """Bytes and metadata; unpacks as `(data, metadata)`.

    >>> data, metadata = Value(io.BytesIO(b"bytes"), {"kind": "example"})
    >>> data.read(), metadata
    (b'bytes', {'kind': 'example'})

    Args:
        data: a binary file, at its start.
        metadata: a dict of JSON; by default, empty.
        size: in bytes, or None if it isn't known.
        created: seconds since the epoch, or None.
        modified: seconds since the epoch, or None.
    """

    def __init__(
        self,
        data: ReadableFile,
        metadata: Metadata | None = None,
        *,
        size: int | None = None,
        created: float | None = None,
        modified: float | None = None,
    ) -> None:
        """Make a value of what is given."""
        self._data = data
        self.metadata = {} if metadata is None else metadata
        self.size = size
        self.created = created
        self.modified = modified

    def __repr__(self) -> str:
        """Its size, and when it was modified; never its bytes or metadata."""
        return f"<{type(self).__name__}: {self.size} bytes, modified {self.modified}>"

    @property
    def data(self) -> ReadableFile:
        """The bytes, as a file."""
        return self._data

    def range(self, start: int | None = None, end: int | None = None) -> BufferIteratorIO:
        """The bytes from `start` up to and without `end`, as a file; counted from 0, cut at the end.

        Raises:
            ValueError: start or end is negative.
            io.UnsupportedOperation: the data can't be sought.
        """
        first, last = checked_range(start, end)
        seek = getattr(self._data, "seek", None)
        if seek is None:
            raise io.UnsupportedOperation(f"a range needs data that can be sought, and {self._data!r} cannot")
        seek(first)
        length = None if last is None else max(last - first, 0)
        return BufferIteratorIO(buffer_iterator(self._data, max_bytes=length))

    def iterdata(self, buffer_size: int = MEBIBYTE, progress: Progress | None = None) -> Iterator[bytes]:
        """The bytes, in chunks of at most `buffer_size`; `progress(step=total)` is called for each."""
        return buffer_iterator(self.data, buffer_size, progress)

    @property
    def is_open(self) -> bool:
        """Whether there is a file that would have to be closed."""
        return True

    def close(self) -> None:
        """Close the data, if it was opened."""
        self._data.close()

    def __iter__(self) -> Iterator[Any]:
        """The data, then the metadata."""
        yield self.data
        yield self.metadata

    def __enter__(self) -> Self:
        """Give the value."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the data."""
        self.close()


class StoredValue(Value):
    """A value in a store: the bytes are opened when they are asked for, and are those of its look-up or none."""

    _opened: BufferIteratorIO | None = None

    def __init__(
        self, entry: Entry, metadata: Metadata, opener: Callable[[int | None, int | None], BufferIteratorIO]
    ) -> None:
        """Make the value of a look-up; `opener(start, end)` opens its bytes, all of them as `(None, None)`."""
        self.metadata = metadata
        self.size = entry.size
        self.created = entry.created
        self.modified = entry.modified
        self._opener = opener

    @property
    def data(self) -> BufferIteratorIO:
        """The bytes, as a file, opened at first use: from here on the operation 'get' is under way.

        Raises:
            ConflictError: the value was replaced or deleted since its look-up.
        """
        if self._opened is None:
            self._opened = self._opener(None, None)
        return self._opened

    def range(self, start: int | None = None, end: int | None = None) -> BufferIteratorIO:
        """The bytes from `start` up to and without `end`, as a file: the operation 'get_range'."""
        return self._opener(start or 0, end)

    @property
    def is_open(self) -> bool:
        """Whether the bytes have been opened."""
        return self._opened is not None

    def close(self) -> None:
        """Close the data, if it was opened."""
        if self._opened is not None:
            self._opened.close()


def checked_range(start: int | None, end: int | None) -> tuple[int, int | None]:
    """The first byte, and the one after the last or None for the end.

    Raises:
        ValueError: start or end is negative.
    """
    for name, bound in (("start", start), ("end", end)):
        if bound is not None and bound < 0:
            raise ValueError(f"{name} must be at least 0, not {bound}: bytes are counted from the first")
    return start or 0, end
