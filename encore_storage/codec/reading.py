"""Events made of the data of messages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from encore_events.errors import EventError
from encore_events.events import BaseEvent, ListenerErrorEvent
from encore_storage.codec.errors import CodecError
from encore_storage.codec.fields import Field, Kind, declared_names, fields_of
from encore_storage.codec.messages import Envelope, shown
from encore_storage.codec.recalled import (
    GenericEvent,
    RecordedListener,
    RecordedSource,
    recalled_error,
    recalled_event,
)
from encore_storage.codec.types import BUILT_IN
from encore_storage.events import StoreEvent

_NUMBERS: frozenset[Kind] = frozenset({"integer", "number"})
_RESERVED = ("_handled", "_id", "_metadata", "_pending", "recorded_at", "source")


def event_of(cls: type[BaseEvent] | None, envelope: Envelope) -> BaseEvent:
    """The event that the message tells; `cls` is the class of its type, None where that isn't known.

    Raises:
        CodecError: its data can't be that of such an event.
    """
    if cls is None:
        source = RecordedSource.of(envelope.source, None)
        event: BaseEvent = GenericEvent(source, type=envelope.type, data=envelope.data)
    elif isinstance(envelope.data, dict):
        event = _event_of(cls, envelope)
    else:
        raise CodecError("data", f"must be an object for the type {envelope.type!r}, not {shown(envelope.data)}")
    event.__dict__["_id"] = envelope.id
    if envelope.time is not None:
        event.__dict__["recorded_at"] = envelope.time
    return event


def _event_of(cls: type[BaseEvent], envelope: Envelope) -> BaseEvent:
    shape = _shape_of(cls)
    data = {name: value for name, value in envelope.data.items() if name not in shape.computed}
    for name in _RESERVED:
        if name in data:
            raise CodecError(f"data.{name}", "can't be an attribute: an event has that for itself")
    for name, field in shape.fields.items():
        if data.get(name) is not None:
            data[name] = _attribute(field, data[name])
    if issubclass(cls, ListenerErrorEvent):
        data |= _told_by_name(data)
    backend = data.pop("backend", None) if issubclass(cls, StoreEvent) else None
    if not isinstance(backend, str | None):
        raise CodecError("data.backend", f"must be a string, not {shown(backend)}")
    event = object.__new__(cls)  # its own __init__ was run where it was emitted
    try:
        BaseEvent.__init__(event, RecordedSource.of(envelope.source, backend), **data)
    except (EventError, TypeError) as error:
        raise CodecError("data", f"can't be that of an event: {error}") from error
    return event


class _Shape(NamedTuple):
    """What there is to know of a class: its attributes, and those that it works out by itself, whatever it was told."""

    fields: Mapping[str, Field]
    computed: frozenset[str]


_shapes: dict[type[BaseEvent], _Shape] = {}


def _shape_of(cls: type[BaseEvent]) -> _Shape:
    if cls not in _shapes:
        bases = [base for base in reversed(cls.__mro__) if base in BUILT_IN]
        fields = {name: field for base in bases for name, field in fields_of(base).items()}
        static = {name: inspect.getattr_static(cls, name, None) for name, _ in declared_names(cls)}
        _shapes[cls] = _Shape(fields, frozenset(name for name, value in static.items() if isinstance(value, property)))
    return _shapes[cls]


def _attribute(field: Field, value: Any) -> Any:
    """The attribute, checked for what it is counted by; words may be those of another version, or of a program."""
    place = f"data.{field.name}"
    if field.kinds & _NUMBERS and not isinstance(value, int | float):
        raise CodecError(place, f"must be a number, not {shown(value)}")
    return _error(place, value) if "error" in field.kinds and isinstance(value, dict) else value


def _error(place: str, told: Mapping[str, Any]) -> BaseException:
    for name, accepted in (("type", str), ("message", str | None), ("error_type", str | None), ("errno", int | None)):
        if not isinstance(told.get(name), accepted):
            raise CodecError(f"{place}.{name}", f"is not that of an error: {shown(told.get(name))}")
    try:
        return recalled_error(told)
    except ValueError as error:
        raise CodecError(f"{place}.type", f"can't be the name of a class: {error}") from error


def _told_by_name(data: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if isinstance(data.get("event"), str):
        named["event"] = recalled_event(data["event"])
    if isinstance(data.get("listener"), str):
        named["listener"] = RecordedListener(data["listener"])
    return named
