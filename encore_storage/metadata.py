"""Metadata: JSON, checked and copied at the border of the store."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from encore_storage.errors import InvalidMetadataError

Metadata = dict[str, Any]

_SCALARS = (str, bool, int, type(None))


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


def told_metadata(metadata: object) -> Metadata | None:
    """What an event tells of `metadata`: a copy, which listeners may keep, or None if it isn't JSON."""
    try:
        return None if metadata is None else checked_metadata(metadata)
    except InvalidMetadataError:
        return None


def selected(metadata: Metadata, select: Iterable[str] | None) -> Metadata:
    """The items of `metadata` whose names are in `select`; all, if that is None."""
    if select is None:
        return metadata
    return {name: metadata[name] for name in select if name in metadata}


def _copied(value: object, place: str) -> Any:
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, float):
        return _finite(value, place)
    if isinstance(value, list):
        return [_copied(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_name(name, place): _copied(item, f"{place}[{name!r}]") for name, item in value.items()}
    raise InvalidMetadataError(place, f"is a {type(value).__name__}")


def _finite(value: float, place: str) -> float:
    if not math.isfinite(value):
        raise InvalidMetadataError(place, f"is {value}, not a finite number")
    return value


def _name(name: object, place: str) -> str:
    if not isinstance(name, str):
        raise InvalidMetadataError(place, f"has a name that is a {type(name).__name__}, not a str")
    return name
