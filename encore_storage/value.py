"""Values: bytes as a file, metadata, size and times."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, Protocol, Self

from encore_storage.errors import UnpicklableError
from encore_storage.metadata import Metadata
from encore_storage.streams import MEBIBYTE, BufferIteratorIO, ChunkFile, Progress, buffer_iterator


class ReadableFile(Protocol):
    """A binary file that can be read and closed."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""

    def close(self) -> object:
        """Close the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The record of a value in a store, without its bytes.

    Attributes:
        size: the number of bytes.
        metadata: the store's own metadata; copy it before passing it on.
        created: seconds since the epoch.
        modified: seconds since the epoch.
        token: identifies these bytes to the store, so that bytes that replaced them are never returned instead.
    """

    size: int
    metadata: Metadata
    created: float
    modified: float
    token: Any = field(default=None, repr=False)


class ListedKey(NamedTuple):
    """A key with the size and times of its value.

    Attributes:
        key: the key.
        size: the number of bytes.
        created: seconds since the epoch.
        modified: seconds since the epoch.
    """

    key: str
    size: int
    created: float
    modified: float


class Value:
    """Bytes and metadata; unpacks as `(data, metadata)`.

    >>> data, metadata = Value(io.BytesIO(b"bytes"), {"kind": "example"})
    >>> data.read(), metadata
    (b'bytes', {'kind': 'example'})

    Args:
        data: a binary file, at its start.
        metadata: a dict of JSON; by default, empty.
        size: the number of bytes, or None if unknown.
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
        self._data = data
        self.metadata = {} if metadata is None else metadata
        self.size = size
        self.created = created
        self.modified = modified

    def __repr__(self) -> str:
        """Return the size and the time of modification, but no bytes or metadata."""
        return f"<{type(self).__name__}: {self.size} bytes, modified {self.modified}>"

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a pickle or copy. Raises UnpicklableError if the data is an open file."""
        try:
            self._data.__reduce_ex__(4)
        except TypeError:
            raise UnpicklableError(repr(self), "its data is an open file; pickle the bytes and the metadata") from None
        return self.__dict__

    @property
    def data(self) -> ReadableFile:
        """The bytes, as a file."""
        return self._data

    def range(self, start: int | None = None, end: int | None = None) -> BufferIteratorIO:
        """Return the bytes from `start` up to but not including `end` as a file; `end` may lie past the last byte.

        Raises:
            ValueError: start or end is negative.
            io.UnsupportedOperation: the data cannot seek.
        """
        first, last = checked_range(start, end)
        if not _is_seekable(self._data):
            raise io.UnsupportedOperation(f"cannot read a range of {self._data!r}: it cannot seek")
        length = None if last is None else max(last - first, 0)
        return ChunkFile(buffer_iterator(_Section(self._data, first), max_bytes=length))

    def iterdata(self, buffer_size: int = MEBIBYTE, progress: Progress | None = None) -> Iterator[bytes]:
        """Return the bytes in chunks of at most `buffer_size`, and call `progress(step=total)` for each."""
        return buffer_iterator(self.data, buffer_size, progress)

    @property
    def is_open(self) -> bool:
        """True if the value has a file to close."""
        return True

    def close(self) -> None:
        """Close the data, if it was opened."""
        self._data.close()

    def __iter__(self) -> Iterator[Any]:
        yield self.data
        yield self.metadata

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class StoredValue(Value):
    """A value in a store, whose bytes are opened on first use."""

    _opened: BufferIteratorIO | None = None

    def __init__(
        self, entry: Entry, metadata: Metadata, opener: Callable[[int | None, int | None], BufferIteratorIO]
    ) -> None:
        """Make the value of an `entry`; `opener(start, end)` opens its bytes, `opener(None, None)` all of them."""
        self.metadata = metadata
        self.size = entry.size
        self.created = entry.created
        self.modified = entry.modified
        self._opener = opener

    def __getstate__(self) -> NoReturn:
        raise UnpicklableError(repr(self), "it reads from its store; pickle its bytes, data.read(), and its metadata")

    @property
    def data(self) -> BufferIteratorIO:
        """The bytes as a file, opened at first use as the operation 'get'. Raises ConflictError if they are gone."""
        if self._opened is None:
            self._opened = self._opener(None, None)
        return self._opened

    def range(self, start: int | None = None, end: int | None = None) -> BufferIteratorIO:
        """Return the bytes from `start` up to but not including `end` as a file, as the operation 'get_range'."""
        return self._opener(start or 0, end)

    @property
    def is_open(self) -> bool:
        """True if the bytes have been opened."""
        return self._opened is not None

    def close(self) -> None:
        """Close the data, if it was opened."""
        if self._opened is not None:
            self._opened.close()


class _Section:
    """A file from some byte on, with a read position of its own: several may be read by turns."""

    def __init__(self, file: Any, start: int) -> None:
        self._file = file
        self._position = start

    def read(self, size: int, /) -> bytes:
        self._file.seek(self._position)
        data: bytes = self._file.read(size)
        self._position += len(data)
        return data


def _is_seekable(file: object) -> bool:
    seekable = getattr(file, "seekable", None)
    return hasattr(file, "seek") and (seekable is None or bool(seekable()))


def checked_range(start: int | None, end: int | None) -> tuple[int, int | None]:
    """Return the first byte, and the byte after the last or None for the end.

    Raises TypeError if one is not an int, and ValueError if one is negative.
    """
    if start is None and end is None:
        return 0, None
    for name, bound in (("start", start), ("end", end)):
        if bound is None:
            continue
        if not hasattr(bound, "__index__"):
            raise TypeError(f"{name} must be an int or None, not {bound!r}")
        if bound < 0:
            raise ValueError(f"{name} must be at least 0, not {bound}: bytes are counted from the first")
    return start or 0, end
