"""JSON that is always made: by orjson where that is installed and can, else by the standard library."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections.abc import Mapping
from typing import Any

from encore_storage.codec.told import text_of, told_error

try:
    import orjson
except ImportError:  # it comes with an extra
    orjson = None  # type: ignore[assignment]  # so that it is asked for once

_DEEPEST = 100  # levels; encoders and decoders give up at some 250
_LONGEST = 14_000  # bits; Python writes no int of more than 4,300 digits


def dumps(value: Any) -> bytes:
    """The value as JSON in UTF-8, on one line.

    What JSON hasn't is told as well as may be: NaN and infinity, bytes, and what is nested too deep as null, errors
    as objects, and anything else as its `str`.
    """
    try:
        if orjson is not None:
            return orjson.dumps(value, None, orjson.OPT_UTC_Z)
    except TypeError:  # half of a surrogate pair, an int beyond 64 bits, or what isn't JSON
        pass
    return json.dumps(_plain(value, _DEEPEST), separators=(",", ":")).encode("ascii")


def loads(text: bytes | str) -> Any:
    """What the JSON says; other than orjson, with ints of any size and halves of surrogate pairs.

    Raises:
        ValueError: it isn't JSON, or too deep, or has numbers that JSON hasn't.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


def _plain(value: Any, depth: int) -> Any:
    """The value as what JSON has."""
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth)
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping | list | tuple | BaseException):
        return _container(value, depth - 1) if depth else None
    return _other(value)


def _container(value: Any, depth: int) -> Any:
    if isinstance(value, BaseException):
        return told_error(value)
    if isinstance(value, Mapping):
        return {_name(name): _plain(item, depth) for name, item in value.items()}
    return [_plain(item, depth) for item in value]


def _number(value: float | None) -> float | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONGEST else None
    return float(value) if math.isfinite(value) else None


def _other(value: Any) -> str | None:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat().replace("+00:00", "Z")
    return None if isinstance(value, bytes | bytearray | memoryview) else text_of(value)


def _name(name: object) -> str:
    return str.__str__(name) if isinstance(name, str) else text_of(name)
