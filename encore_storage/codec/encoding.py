"""Events to the data of CloudEvents, by a plan that is made once for each class."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import inspect
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from encore_events.events import BaseEvent, ListenerErrorEvent
from encore_events.listeners import qualified_name
from encore_storage.codec.fields import INTERNAL, declared_names
from encore_storage.codec.recorded import own_attributes
from encore_storage.codec.text import encode_error
from encore_storage.codec.types import BUILT_IN
from encore_storage.events import StoreEvent, StoreTransactionEndEvent
from encore_storage.redaction import Redaction

Data = dict[str, Any]

QUOTING = ("key", "message", "notes")  # the attributes that may quote a key
# Attributes without an encoded default: whether they were set means something to metrics, also in a replay.
_ONLY_IF_SET = ("attempts",)
_PLAIN = (str, int, float, type(None))
_ENCODABLE = (
    *(*_PLAIN, list, tuple, Mapping, BaseException),
    *(dt.date, dt.time, decimal.Decimal, enum.Enum, os.PathLike, uuid.UUID),
)
_BYTES = (bytes, bytearray, memoryview)


class EncodingOptions(NamedTuple):
    """The options of a codec.

    Attributes:
        keys: True to encode keys, False to leave them out, or a function that returns a replacement.
        metadata: whether to encode metadata.
        values: whether to encode bytes.
        type_of: returns the type of an event.
    """

    keys: bool | Redaction
    metadata: bool
    values: bool
    type_of: Callable[[BaseEvent], str]


class EncodingPlan:
    """The encoding plan of an event class.

    Attributes:
        type: the type of its events.
        is_of_store: whether its events are store events.
    """

    def __init__(self, cls: type[BaseEvent], type_: str, options: EncodingOptions) -> None:
        self.type = type_
        self.is_of_store = issubclass(cls, StoreEvent)
        self._options = options
        self._has_error_type = issubclass(cls, StoreTransactionEndEvent)
        declared = {name for name, _ in declared_names(cls)}
        built_in = {name for name, base in declared_names(cls) if base in BUILT_IN}  # even if redeclared
        self._own = frozenset(declared - built_in) if options.keys is True else frozenset[str]()
        self._known = frozenset({*built_in, *INTERNAL})
        self._left_out = (*INTERNAL, *(name for name in _hidden(options) if name in built_in))
        static = {name: inspect.getattr_static(cls, name, None) for name in (*self._own, *built_in)}
        self._computed = [
            name for name, value in static.items() if hasattr(type(value), "__get__") and name not in self._left_out
        ]
        self._defaults = [
            (name, value)
            for name, value in static.items()
            if value is not None and name not in (*self._computed, *_ONLY_IF_SET) and isinstance(value, _ENCODABLE)
        ]
        self._encoders = list(self._encoders_of(cls))

    def data_of(self, event: BaseEvent) -> Data:
        """Return the data of an event of the class."""
        data = event.__dict__.copy()
        if not self._known.issuperset(data):
            given = own_attributes(event)
            data = {name: encoded for name, value in given.items() for encoded in self._encoded(name, value)}
        for name in self._computed:
            if name not in data:
                data[name] = getattr(event, name, None)
        for name, value in self._defaults:
            data.setdefault(name, value)
        for name in self._left_out:
            data.pop(name, None)
        for name, encode in self._encoders:
            if data.get(name) is not None:
                data[name] = encode(data[name])
        if self._has_error_type and isinstance(error := data.get("error"), dict):
            data.setdefault("error_type", error["error_type"])
        if self.is_of_store and "backend" not in data:
            data["backend"] = _backend(event.source)
        return data

    def _encoded(self, name: str, value: object) -> Iterator[object]:
        """Yield the encoded value of an attribute, or nothing if it is left out."""
        if name in self._known:
            yield value
        elif name.startswith("_") or self._options.keys is not True:
            return
        elif isinstance(value, _BYTES):
            if self._options.values:
                yield base64.b64encode(value).decode("ascii")
        elif isinstance(value, _ENCODABLE if name in self._own else _PLAIN):
            yield value

    def _encoders_of(self, cls: type[BaseEvent]) -> Iterator[tuple[str, Callable[[Any], object]]]:
        words = self._options.keys is True
        yield "error", lambda error: _error(error, words=words)
        if callable(self._options.keys):
            yield "key", self._options.keys
        if issubclass(cls, ListenerErrorEvent):
            yield "event", self._options.type_of
            yield "listener", qualified_name


def _hidden(options: EncodingOptions) -> Iterator[str]:
    if not options.metadata:
        yield "metadata"
    if options.keys is not True:
        yield from QUOTING if options.keys is False else QUOTING[1:]


def _error(error: object, *, words: bool) -> object:
    if isinstance(error, BaseException):
        return encode_error(error, words=words)
    return error if words else None


def _backend(source: object) -> str | None:
    backend = getattr(source, "backend", None)
    return type(source).__name__.lower() if backend is None and source is not None else backend
