"""The protocol of byte sources, and checks of what they return."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MEBIBYTE = 1048576


class Readable(Protocol):
    """A source of bytes, such as a file opened in binary mode."""

    def read(self, size: int, /) -> ReadableBuffer:
        """Return at most `size` bytes, or none at the end."""


def as_bytes(chunk: ReadableBuffer, source: object) -> bytes:
    """Return the chunk as bytes, copied if it is mutable, since the source may reuse its buffer."""
    if isinstance(chunk, bytes):
        return chunk
    if chunk is None:
        raise BlockingIOError(f"{source!r} returned None: use a blocking source")
    if isinstance(chunk, str):
        raise TypeError(f"{source!r} returned str, not bytes: open it in binary mode")
    try:
        return memoryview(chunk).tobytes()
    except TypeError:
        raise TypeError(f"{source!r} returned {type(chunk).__name__}, not bytes") from None


def check_source(filelike: Readable) -> None:
    """Raise TypeError if `filelike` has no `read()`."""
    if not callable(getattr(filelike, "read", None)):
        is_path = isinstance(filelike, str | os.PathLike)
        advice = "open the file, or use from_file() of the store" if is_path else "wrap bytes in io.BytesIO"
        raise TypeError(f"an object of type {type(filelike).__name__} has no read(): {advice}")


def check_int(name: str, value: int, least: int) -> None:
    """Raise TypeError if `value` is not an int, and ValueError if it is less than `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
