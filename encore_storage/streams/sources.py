"""Sources of bytes: what is asked of them, and the checks of what they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MEBIBYTE = 1048576


class Readable(Protocol):
    """A source of bytes, such as a file opened in binary mode."""

    def read(self, size: int, /) -> ReadableBuffer:
        """At most size bytes, and none at the end."""


def as_bytes(chunk: ReadableBuffer, giver: object) -> bytes:
    """The chunk, copied unless it is immutable: the giver may use its buffer again."""
    if isinstance(chunk, bytes):
        return chunk
    if chunk is None:
        raise BlockingIOError(f"{giver!r} gave None instead of waiting for bytes; it has to block")
    if isinstance(chunk, str):
        raise TypeError(f"{giver!r} gave str, not bytes; open it in binary mode")
    try:
        return memoryview(chunk).tobytes()
    except TypeError:
        raise TypeError(f"{giver!r} gave {type(chunk).__name__}, not bytes") from None


def check_source(filelike: Readable) -> None:
    """Raise TypeError if `filelike` has no `read()`."""
    if not callable(getattr(filelike, "read", None)):
        kind = type(filelike).__name__
        raise TypeError(f"bytes are read from a file, and a source of type {kind} has no read(): wrap it in io.BytesIO")


def check_int(name: str, value: int, least: int) -> None:
    """Raise TypeError if `value` is not an int, and ValueError if it is less than `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
