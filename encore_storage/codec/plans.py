"""What is told of the events of one class, found out once for each class."""

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
from encore_storage.codec.fields import declared_names
from encore_storage.codec.told import told_error
from encore_storage.codec.types import BUILT_IN
from encore_storage.events import StoreEvent, StoreTransactionEndEvent
from encore_storage.redaction import Redaction

Data = dict[str, Any]

QUOTING = ("key", "message", "notes")
"""The attributes that quote keys, or may do so."""

_OF_THE_BUS = ("source", "_handled", "_id", "_metadata", "_pending")
_PLAIN = (str, int, float, type(None))
_TELLABLE = (
    *(*_PLAIN, list, tuple, Mapping, BaseException),
    *(dt.date, dt.time, decimal.Decimal, enum.Enum, os.PathLike, uuid.UUID),
)
_BYTES = (bytes, bytearray, memoryview)


class Choice(NamedTuple):
    """What a codec was asked to tell.

    Attributes:
        keys: True to tell keys, False to leave them out, or a function of a key that gives what is told instead.
        metadata: whether to tell metadata.
        values: whether to tell bytes.
        type_of: what events are called.
    """

    keys: bool | Redaction
    metadata: bool
    values: bool
    type_of: Callable[[BaseEvent], str]


class EncodingPlan:
    """What is told of the events of one class.

    Args:
        cls: the class.
        type_: what its events are told as.
        choice: what was asked for.

    Attributes:
        type: what the events are told as.
        is_of_store: whether they are told by stores.
    """

    def __init__(self, cls: type[BaseEvent], type_: str, choice: Choice) -> None:
        """Look at the class."""
        self.type = type_
        self.is_of_store = issubclass(cls, StoreEvent)
        self._choice = choice
        self._has_error_type = issubclass(cls, StoreTransactionEndEvent)
        declared = {name for name, _ in declared_names(cls)}
        built_in = {name for name, base in declared_names(cls) if base in BUILT_IN}  # whoever declares it once more
        self._own = frozenset(declared - built_in) if choice.keys is True else frozenset[str]()
        self._known = frozenset({*built_in, *_OF_THE_BUS})
        self._left_out = (*_OF_THE_BUS, *(name for name in _hidden(choice) if name in built_in))
        static = {name: inspect.getattr_static(cls, name, None) for name in (*self._own, *built_in)}
        self._computed = [
            name for name, value in static.items() if hasattr(type(value), "__get__") and name not in self._left_out
        ]
        self._defaults = [
            (name, value)
            for name, value in static.items()
            if value is not None and name not in self._computed and isinstance(value, _TELLABLE)
        ]
        self._changes = list(self._changed(cls))

    def data_of(self, event: BaseEvent) -> Data:
        """What is told of the event."""
        data = event.__dict__.copy()
        if not self._known.issuperset(data):
            data = {name: told for name, value in data.items() for told in self._unknown(name, value)}
        for name in self._computed:
            if name not in data:
                data[name] = getattr(event, name, None)
        for name, value in self._defaults:
            data.setdefault(name, value)
        for name in self._left_out:
            data.pop(name, None)
        for name, tell in self._changes:
            if data.get(name) is not None:
                data[name] = tell(data[name])
        if self._has_error_type and isinstance(error := data.get("error"), dict):
            data.setdefault("error_type", error["error_type"])
        if self.is_of_store and "backend" not in data:
            data["backend"] = _backend(event.source)
        return data

    def _unknown(self, name: str, value: object) -> Iterator[object]:
        """What is told of an attribute that may not be one of Encore's own; nothing, or one thing."""
        if name in self._known:
            yield value
        elif name.startswith("_") or name == "recorded_at" or self._choice.keys is not True:
            return
        elif isinstance(value, _BYTES):
            if self._choice.values:
                yield base64.b64encode(value).decode("ascii")
        elif isinstance(value, _TELLABLE if name in self._own else _PLAIN):
            yield value

    def _changed(self, cls: type[BaseEvent]) -> Iterator[tuple[str, Callable[[Any], object]]]:
        """What isn't told as it is, and how it is told."""
        words = self._choice.keys is True
        yield "error", lambda error: _error(error, words=words)
        if callable(self._choice.keys):
            yield "key", self._choice.keys
        if issubclass(cls, ListenerErrorEvent):
            yield "event", self._choice.type_of
            yield "listener", qualified_name


def _hidden(choice: Choice) -> Iterator[str]:
    if not choice.metadata:
        yield "metadata"
    if choice.keys is not True:
        yield from QUOTING if choice.keys is False else QUOTING[1:]


def _error(error: object, *, words: bool) -> object:
    if isinstance(error, BaseException):
        return told_error(error, words=words)
    return error if words else None


def _backend(source: object) -> str | None:
    backend = getattr(source, "backend", None)
    return type(source).__name__.lower() if backend is None and source is not None else backend
