"""CloudEvents in their JSON format, before anything is made of their data."""

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

_SHOWN = 80


class Message(NamedTuple):
    """An event, and what its message says beside it.

    Attributes:
        id: identifies the message among those of its source.
        type: what happened, such as 'encore.storage.operation.ended'.
        source: where, such as '/stores/archive'.
        time: when it was told, in seconds since the epoch; None if the message doesn't say.
        event: the event.
    """

    id: str
    type: str
    source: str
    time: float | None
    event: BaseEvent


class Envelope(NamedTuple):
    """What all messages have, whatever they are about."""

    id: str
    type: str
    source: str
    time: float | None
    data: Any


def read_envelope(text: bytes | str) -> Envelope:
    """The message as it is.

    Raises:
        CodecError: it is no CloudEvent of version 1.0, or its data is not JSON.
    """
    try:
        message = loads(text)
    except ValueError as error:
        raise CodecError("the message", f"is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise CodecError("the message", f"must be an object, not {shown(message)}")
    if message.get("specversion") != VERSION:
        raise CodecError("specversion", f"must be '{VERSION}', not {shown(message.get('specversion'))}")
    for name in ("id", "type", "source"):
        if not (isinstance(message.get(name), str) and message[name]):
            raise CodecError(name, f"must be a string that isn't empty, not {shown(message.get(name))}")
    return Envelope(message["id"], message["type"], message["source"], _time(message.get("time")), _data(message))


def _time(told: object) -> float | None:
    if told is None:
        return None
    try:
        time = datetime.fromisoformat(told.upper()) if isinstance(told, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise CodecError("time", f"must be a time such as '2026-11-24T16:30:00Z', with its zone, not {shown(told)}")
    return time.timestamp()


def _data(message: Mapping[str, Any]) -> Any:
    if "data_base64" in message:
        try:
            return base64.b64decode(message["data_base64"], validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise CodecError("data_base64", f"is not base64: {error}") from error
    content = message.get("datacontenttype", "application/json")
    if not isinstance(content, str) or "json" not in content.lower():
        raise CodecError("datacontenttype", f"must be application/json, not {shown(content)}")
    return message.get("data")


def shown(value: object) -> str:
    """What an error says of a value: its beginning."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
