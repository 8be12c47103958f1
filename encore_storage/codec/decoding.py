"""Events from the messages that `read_envelope` parsed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from encore_events.errors import EventError
from encore_events.events import BaseEvent, ListenerErrorEvent
from encore_storage.codec.errors import CodecError
from encore_storage.codec.fields import INTERNAL, Field, Kind, declared_names, fields_of
from encore_storage.codec.messages import Envelope, short_repr
from encore_storage.codec.recorded import (
    GenericEvent,
    Recorded,
    RecordedListener,
    RecordedSource,
    mark_as_recorded,
    recorded_error,
    recorded_event,
)
from encore_storage.codec.types import BUILT_IN
from encore_storage.events import StoreEvent

_NUMBERS: frozenset[Kind] = frozenset({"integer", "number"})


def decode_event(cls: type[BaseEvent] | None, envelope: Envelope) -> BaseEvent:
    """Return the event of a message, of the class of its type or a GenericEvent. Raises CodecError."""
    if cls is None:
        source = RecordedSource.of(envelope.source, None)
        event: BaseEvent = GenericEvent(source, type=envelope.type, data=envelope.data)
    elif isinstance(envelope.data, dict):
        event = _typed_event(cls, envelope)
    else:
        raise CodecError("data", f"must be an object for the type {envelope.type!r}, not {short_repr(envelope.data)}")
    event.__dict__["_encore_id"] = envelope.id
    mark_as_recorded(event, Recorded(envelope.time, envelope.process))
    return event


def _typed_event(cls: type[BaseEvent], envelope: Envelope) -> BaseEvent:
    shape = _shape_of(cls)
    data = {name: value for name, value in envelope.data.items() if name not in shape.computed}
    for name in INTERNAL:
        if name in data:
            raise CodecError(f"data.{name}", "is a reserved name: an event sets it itself")
    for name, field in shape.fields.items():
        if data.get(name) is not None:
            data[name] = _attribute(field, data[name])
    if issubclass(cls, ListenerErrorEvent):
        data |= _stand_ins(data)
    backend = data.pop("backend", None) if issubclass(cls, StoreEvent) else None
    if not isinstance(backend, str | None):
        raise CodecError("data.backend", f"must be a string, not {short_repr(backend)}")
    event = object.__new__(cls)  # its __init__ has run where the event was emitted
    try:
        BaseEvent.__init__(event, RecordedSource.of(envelope.source, backend), **data)
    except (EventError, TypeError) as error:
        raise CodecError("data", f"is not valid: {error}") from error
    return event


class _Shape(NamedTuple):
    """The declared attributes of an event class, and the names of those that it computes."""

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
    """Decode an attribute; only numbers are checked, since a newer version may have other strings."""
    place = f"data.{field.name}"
    if field.kinds & _NUMBERS and not isinstance(value, int | float):
        raise CodecError(place, f"must be a number, not {short_repr(value)}")
    return _error(place, value) if "error" in field.kinds and isinstance(value, dict) else value


def _error(place: str, data: Mapping[str, Any]) -> BaseException:
    for name, accepted in (("type", str), ("message", str | None), ("error_type", str | None), ("errno", int | None)):
        if not isinstance(data.get(name), accepted):
            raise CodecError(f"{place}.{name}", f"has the wrong type: {short_repr(data.get(name))}")
    try:
        return recorded_error(data)
    except ValueError as error:
        raise CodecError(f"{place}.type", f"is not a valid class name: {error}") from error


def _stand_ins(data: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if isinstance(data.get("event"), str):
        named["event"] = recorded_event(data["event"])
    if isinstance(data.get("listener"), str):
        named["listener"] = RecordedListener(data["listener"])
    return named
