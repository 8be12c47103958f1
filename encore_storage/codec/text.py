"""JSON for any value, by orjson if it is installed and can encode the value, else by the standard library."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections.abc import Mapping
from typing import Any

from encore_events.text import text_of
from encore_storage.errors import error_type_of
from encore_storage.redaction import errno_of, system_message

try:
    import orjson
except ImportError:  # it comes with an extra
    orjson = None  # type: ignore[assignment]  # checked in `dumps`

_MAX_DEPTH = 100  # levels; encoders and decoders fail at about 250
_MAX_INT_BITS = 14_000  # Python converts no int of more than 4,300 digits to a str


def dumps(value: Any) -> bytes:
    """Encode the value as JSON in UTF-8, on one line.

    NaN, infinity, bytes and values that are nested too deep become null, errors become objects, and anything else
    that JSON lacks becomes its `str`.
    """
    try:
        if orjson is not None:
            return orjson.dumps(value, None, orjson.OPT_UTC_Z)
    except TypeError:  # a lone surrogate, an int beyond 64 bits, or a type that isn't JSON
        pass
    return json.dumps(_plain(value, _MAX_DEPTH), separators=(",", ":")).encode("ascii")


def loads(text: bytes | str) -> Any:
    """Decode JSON, with ints of any size and lone surrogates, but without NaN and infinity. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def encode_error(error: BaseException, *, words: bool = True) -> dict[str, Any]:
    """Return the class name, message, error type (None for what is no Exception) and errno of an error.

    Without `words`, the message is the system's text for the errno, if there is one.
    """
    data: dict[str, Any] = {"type": type(error).__name__}
    number = errno_of(error)
    if words:
        data["message"] = text_of(error)
    elif number is not None:
        data["message"] = system_message(error)
    data["error_type"] = error_type_of(error) if isinstance(error, Exception) else None
    if number is not None:
        data["errno"] = number
    return data


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


def _plain(value: Any, depth: int) -> Any:
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
        return encode_error(value)
    if isinstance(value, Mapping):
        return {_name(name): _plain(item, depth) for name, item in value.items()}
    return [_plain(item, depth) for item in value]


def _number(value: float | None) -> float | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MAX_INT_BITS else None
    return float(value) if math.isfinite(value) else None


def _other(value: Any) -> str | None:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat().replace("+00:00", "Z")
    return None if isinstance(value, bytes | bytearray | memoryview) else text_of(value)


def _name(name: object) -> str:
    return str.__str__(name) if isinstance(name, str) else text_of(name)
