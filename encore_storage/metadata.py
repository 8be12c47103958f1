"""Metadata: JSON, checked and copied when it enters and leaves a store."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from encore_storage.errors import InvalidMetadataError

Metadata = dict[str, Any]

MAX_DEPTH = 50
"""The number of levels of metadata that is written, so that it can be read from the end of a long chain of calls."""

_ALWAYS_WRITABLE = 2**64  # smaller numbers never exceed Python's limit of decimal digits


def checked_metadata(metadata: object) -> Metadata:
    """Return a deep copy of `metadata`, which must be a dict of JSON.

    >>> checked_metadata({"tags": ["a", "b"]})
    {'tags': ['a', 'b']}

    Raises:
        InvalidMetadataError: part of it is not JSON, or it has more than `MAX_DEPTH` levels (a TypeError); the message
            has the place.
    """
    return _checked(metadata, MAX_DEPTH)


def copied_metadata(metadata: object) -> Metadata:
    """Return a deep copy of metadata that a store holds. Another program may have written it with any depth."""
    return _checked(metadata, sys.maxsize)


class GivenMetadata:
    """Metadata from a caller, checked and copied once for both the store and its events.

    Attributes:
        copy: the copy, which is never changed; None if the metadata is not JSON.
    """

    __slots__ = ("_error", "copy")

    def __init__(self, metadata: object) -> None:
        """Copy the metadata, or keep the error for `checked`."""
        self.copy: Metadata | None = None
        self._error: InvalidMetadataError | None = None
        try:
            self.copy = checked_metadata(metadata)
        except InvalidMetadataError as error:
            self._error = error

    def checked(self) -> Metadata:
        """Return the copy. Raises InvalidMetadataError, a TypeError, if the metadata is not JSON."""
        if self.copy is None:
            raise self._error or InvalidMetadataError("metadata", "is missing")
        return self.copy


def checked_names(select: Iterable[str] | None) -> list[str] | None:
    """Return the names to select as a list, or None to select all. Raises TypeError if it is a single str."""
    if isinstance(select, str):
        raise TypeError(f"select must be an iterable of names, not the str {select!r}: put it into a list")
    return None if select is None else list(select)


def selected(metadata: Metadata, select: Iterable[str] | None) -> Metadata:
    """Return the items of `metadata` with the names in `select`; all items if that is None."""
    if select is None:
        return metadata
    return {name: metadata[name] for name in select if name in metadata}


def _checked(metadata: object, depth: int) -> Metadata:
    if not isinstance(metadata, dict):
        raise InvalidMetadataError("metadata", f"is a {type(metadata).__name__}, not a dict")
    copied: Metadata = _copied(metadata, "metadata", depth)
    return copied


def _copied(value: object, place: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -_ALWAYS_WRITABLE < value < _ALWAYS_WRITABLE else _writable(int(value), place)
    if isinstance(value, float):
        return _finite(value, place)
    if isinstance(value, list | dict) and not depth:
        raise InvalidMetadataError("metadata", f"has more than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, list):
        return [_copied(item, f"{place}[{index}]", depth - 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_name(name, place): _copied(item, f"{place}[{name!r}]", depth - 1) for name, item in value.items()}
    raise InvalidMetadataError(place, f"is a {type(value).__name__}")


def _writable(value: int, place: str) -> int:
    """Return the number, if Python can write it in decimal digits."""
    try:
        str(value)
    except ValueError:
        raise InvalidMetadataError(place, f"is a number of {value.bit_length()} bits") from None
    return value


def _finite(value: float, place: str) -> float:
    if not math.isfinite(value):
        raise InvalidMetadataError(place, f"is {value}, not a finite number")
    return value


def _name(name: object, place: str) -> str:
    if not isinstance(name, str):
        raise InvalidMetadataError(place, f"has a name that is a {type(name).__name__}, not a str")
    return name
