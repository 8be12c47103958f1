"""Metadata: JSON, checked and copied at the border of the store."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from encore_storage.errors import InvalidMetadataError

Metadata = dict[str, Any]

_LONG = 2**64  # below that there is no question whether a number can be written


def checked_metadata(metadata: object) -> Metadata:
    """A deep copy of `metadata`, which is a dict of JSON.

    >>> checked_metadata({"tags": ["a", "b"]})
    {'tags': ['a', 'b']}

    Raises:
        InvalidMetadataError: with the place of what isn't JSON (a TypeError).
    """
    if not isinstance(metadata, dict):
        raise InvalidMetadataError("metadata", f"is a {type(metadata).__name__}, not a dict")
    try:
        copied: Metadata = _copied(metadata, "metadata")
    except RecursionError:
        raise InvalidMetadataError("metadata", "is nested too deeply, or contains itself") from None
    return copied


class GivenMetadata:
    """Metadata that a caller has given: checked and copied once, for the store and for its events.

    Attributes:
        copy: the copy, which nobody changes; None if it isn't JSON.
    """

    __slots__ = ("_error", "copy")

    def __init__(self, metadata: object) -> None:
        """Copy the metadata."""
        self.copy: Metadata | None = None
        self._error: InvalidMetadataError | None = None
        try:
            self.copy = checked_metadata(metadata)
        except InvalidMetadataError as error:
            self._error = error

    def checked(self) -> Metadata:
        """Return the copy.

        Raises:
            InvalidMetadataError: it isn't JSON (a TypeError).
        """
        if self.copy is None:
            raise self._error or InvalidMetadataError("metadata", "is missing")
        return self.copy


def checked_names(select: Iterable[str] | None) -> list[str] | None:
    """The names to select, as a list.

    Raises:
        TypeError: it is one str, and not several.
    """
    if isinstance(select, str):
        raise TypeError(f"select takes several names, not the one str {select!r}: put it into a list")
    return None if select is None else list(select)


def selected(metadata: Metadata, select: Iterable[str] | None) -> Metadata:
    """The items of `metadata` whose names are in `select`; all, if that is None."""
    if select is None:
        return metadata
    return {name: metadata[name] for name in select if name in metadata}


def _copied(value: object, place: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -_LONG < value < _LONG else _writable(int(value), place)
    if isinstance(value, float):
        return _finite(value, place)
    if isinstance(value, list):
        return [_copied(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_name(name, place): _copied(item, f"{place}[{name!r}]") for name, item in value.items()}
    raise InvalidMetadataError(place, f"is a {type(value).__name__}")


def _writable(value: int, place: str) -> int:
    """The number, unless Python refuses to write one as long as that in decimal digits."""
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
