"""Stand-ins for the sources, errors, listeners and unknown events of decoded messages."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from encore_events.events import BaseEvent
from encore_storage.codec.errors import error_class
from encore_storage.codec.types import FOREIGN, TYPES

STORES = "/stores/"
SOURCES = "/sources/"
_TIME = "recorded_at"


@dataclass(frozen=True)
class RecordedSource:
    """The source of a decoded event.

    Attributes:
        uri: the source in the message.
        name: the name of the original source, such as that of a store.
        backend: the kind of store, or None.
    """

    uri: str
    name: str
    backend: str | None = None

    @classmethod
    def of(cls, uri: str, backend: str | None) -> RecordedSource:
        """Return the source with the name that its URI ends with."""
        return cls(uri, _unquoted(uri.rpartition("/")[2]) or uri, backend)


class Recorded(NamedTuple):
    """The private mark of a decoded event. No attribute of a program's own event is taken for it.

    Attributes:
        time: the time of the message, in seconds since the epoch, or None.
        process: the id of the process that emitted the event, or None.
        is_shown: whether the time is the event's `recorded_at`, which is no attribute of its own then.
    """

    time: float | None
    process: int | None
    is_shown: bool = False


class RecordedListener:
    """The qualified name of a listener that failed."""

    def __init__(self, name: str) -> None:
        self.__module__, _, self.__qualname__ = name.partition(".")

    def __repr__(self) -> str:
        return f"<RecordedListener {self.__module__}.{self.__qualname__}>"


class GenericEvent(BaseEvent):
    """An event of an unknown type, from a newer version of Encore or from another program.

    Attributes:
        type: the type of the message.
        data: the data of the message: any JSON value, or bytes if it was binary.
    """

    type: str
    data: Any

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickles the event: its class may have been made for its type."""
        return _empty_event, (self.type,), self.__getstate__()


def mark_as_recorded(event: BaseEvent, mark: Recorded) -> None:
    """Mark an event as decoded. Its time is readable as `recorded_at`, unless the program uses that name itself."""
    is_shown = mark.time is not None and _TIME not in event.__dict__
    event.__dict__["_encore_recorded"] = mark._replace(is_shown=is_shown)
    if is_shown:
        event.__dict__[_TIME] = mark.time


def mark_of(event: BaseEvent) -> Recorded | None:
    """Return the mark of a decoded event, or None."""
    mark = event.__dict__.get("_encore_recorded")
    return mark if isinstance(mark, Recorded) else None


def recorded_time(event: BaseEvent) -> float | None:
    """Return the time of the message of a decoded event; None if it had none, and for any other event."""
    mark = mark_of(event)
    if mark is None:
        return None
    shown = event.__dict__.get(_TIME) if mark.is_shown else None
    return shown if isinstance(shown, float) else mark.time  # the program may have changed it


def own_attributes(event: BaseEvent) -> dict[str, Any]:
    """Return the attributes of an event, without a `recorded_at` that was set when it was decoded."""
    attributes, mark = event.__dict__.copy(), mark_of(event)
    if mark is not None and mark.is_shown:
        attributes.pop(_TIME, None)
    return attributes


def recorded_error(data: Mapping[str, Any]) -> BaseException:
    """Return an encoded error as an exception. Raises ValueError if its type is not a valid class name."""
    cls = error_class(data["type"], data.get("error_type", "other"))
    error = cls(data["message"]) if data.get("message") else cls()
    error.errno = data.get("errno")
    return error


def recorded_event(type_: str) -> BaseEvent:
    """Return an event of the type, without attributes."""
    if type_ in TYPES:
        return TYPES[type_]()
    return _event_class(type_)(type=type_, data=None)


def store_uri(name: str) -> str:
    """Return the source of the events of a store."""
    return STORES + quote(name, safe="", errors="surrogatepass")


def source_uri(source: object) -> str:
    """Return the source of an event of no store: the class of the object, and its name if it has one."""
    if isinstance(source, RecordedSource):
        return source.uri
    if source is None:
        return f"{SOURCES}unknown"
    name = source if isinstance(source, str) else getattr(source, "name", None)
    kind = SOURCES + quote(type(source).__name__, safe="")
    return f"{kind}/{quote(name, safe='', errors='surrogatepass')}" if isinstance(name, str) else kind


def _unquoted(name: str) -> str:
    try:
        return unquote(name, errors="surrogatepass")
    except UnicodeDecodeError:  # another program has quoted something other than UTF-8
        return unquote(name)


def _empty_event(type_: str) -> GenericEvent:
    cls = _event_class(type_)
    return cls.__new__(cls)


@functools.lru_cache(maxsize=1000)
def _event_class(type_: str) -> type[GenericEvent]:
    name = type_.rpartition(".")[2] if type_.startswith(FOREIGN) else ""
    return type(name, (GenericEvent,), {}) if name.isidentifier() else GenericEvent
