"""CloudEvents in JSON, with their data still undecoded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from encore_events.events import BaseEvent
from encore_storage.codec.errors import CodecError
from encore_storage.codec.text import loads

VERSION = "1.0"

_MAX_REPR = 80


class Message(NamedTuple):
    """A decoded message.

    Attributes:
        id: the id of the event, unique for its source.
        type: the type of the event, such as 'encore.storage.operation.ended'.
        source: the source of the event, such as '/stores/archive'.
        time: when the event was emitted, in seconds since the epoch; None if the message has no time.
        event: the event.
        process: the id of the process that emitted the event; None if the message has none.
    """

    id: str
    type: str
    source: str
    time: float | None
    event: BaseEvent
    process: int | None = None


class Envelope(NamedTuple):
    """A message with undecoded data."""

    id: str
    type: str
    source: str
    time: float | None
    data: Any
    process: int | None


def read_envelope(text: bytes | str) -> Envelope:
    """Parse a message. Raises CodecError if it is not a CloudEvent 1.0, or its data is not JSON."""
    try:
        message = loads(text)
    except ValueError as error:
        raise CodecError("the message", f"is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise CodecError("the message", f"must be an object, not {short_repr(message)}")
    if message.get("specversion") != VERSION:
        raise CodecError("specversion", f"must be '{VERSION}', not {short_repr(message.get('specversion'))}")
    for name in ("id", "type", "source"):
        if not (isinstance(message.get(name), str) and message[name]):
            raise CodecError(name, f"must be a non-empty string, not {short_repr(message.get(name))}")
    time, data = _time(message.get("time")), _data(message)
    return Envelope(message["id"], message["type"], message["source"], time, data, _process(message.get("process")))


def _process(value: object) -> int | None:
    """Return the id of a process. Another program may use the name for something else."""
    return value if type(value) is int and value > 0 else None


def _time(value: object) -> float | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value.upper()) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise CodecError("time", f"must be a time with a zone, such as '2026-11-24T16:30:00Z', not {short_repr(value)}")
    return time.timestamp()


def _data(message: Mapping[str, Any]) -> Any:
    if "data_base64" in message:
        try:
            return base64.b64decode(message["data_base64"], validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise CodecError("data_base64", f"is not base64: {error}") from error
    content = message.get("datacontenttype", "application/json")
    if not isinstance(content, str) or "json" not in content.lower():
        raise CodecError("datacontenttype", f"must be application/json, not {short_repr(content)}")
    return message.get("data")


def short_repr(value: object) -> str:
    """Return the `repr` of a value, truncated for an error message."""
    text = repr(value)
    return text if len(text) <= _MAX_REPR else f"{text[:_MAX_REPR]}…"
