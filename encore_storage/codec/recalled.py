"""What stands for a source, an error, a listener or an unknown event that was told and has been read again."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from encore_events.events import BaseEvent
from encore_storage.codec.errors import RecordedError, RecordedInterruption
from encore_storage.codec.types import FOREIGN, TYPES

STORES = "/stores/"
SOURCES = "/sources/"


@dataclass(frozen=True)
class RecordedSource:
    """Where a recorded event came from.

    Attributes:
        uri: the source, as the message has it.
        name: the name that it had, such as that of a store.
        backend: what kind of store it was, or None.
    """

    uri: str
    name: str
    backend: str | None = None

    @classmethod
    def of(cls, uri: str, backend: str | None) -> RecordedSource:
        """The source that a message names."""
        return cls(uri, _unquoted(uri.rpartition("/")[2]) or uri, backend)


class RecordedListener:
    """A listener that failed; nothing is left of it but its name."""

    def __init__(self, name: str) -> None:
        """Take the name, with its module."""
        self.__module__, _, self.__qualname__ = name.partition(".")

    def __repr__(self) -> str:
        """Its name."""
        return f"<RecordedListener {self.__module__}.{self.__qualname__}>"


class GenericEvent(BaseEvent):
    """An event of a type that this program doesn't know: of a newer version of Encore, or of another program.

    Attributes:
        type: the type of the message.
        data: its data, as it is: anything that JSON has; bytes where it was binary.
    """

    type: str
    data: Any


def recalled_error(told: Mapping[str, Any]) -> BaseException:
    """The error that was told; its class is made for it.

    Raises:
        ValueError: its type can't be the name of a class.
    """
    cls = _error_class(told["type"], told.get("error_type", "other"))
    error = cls(told["message"]) if told.get("message") else cls()
    error.errno = told.get("errno")
    return error


def recalled_event(told: str) -> BaseEvent:
    """What stands for the event of the type, of which nothing else was told."""
    if told in TYPES:
        return TYPES[told]()
    return _event_class(told)(type=told, data=None)


def store_uri(name: str) -> str:
    """The source of the events of a store."""
    return STORES + quote(name, safe="", errors="surrogatepass")


def source_uri(source: object) -> str:
    """The source of an event that is of no store: the class of the object, and its name if it has one."""
    if isinstance(source, RecordedSource):
        return source.uri
    if source is None:
        return f"{SOURCES}unknown"
    name = source if isinstance(source, str) else getattr(source, "name", None)
    kind = quote(type(source).__name__, safe="")
    return (
        f"{SOURCES}{kind}/{quote(name, safe='', errors='surrogatepass')}" if isinstance(name, str) else SOURCES + kind
    )


def _unquoted(name: str) -> str:
    try:
        return unquote(name, errors="surrogatepass")
    except UnicodeDecodeError:  # of another program, which has quoted something else than UTF-8
        return unquote(name)


@functools.lru_cache(maxsize=1000)
def _error_class(name: str, word: str | None) -> type[RecordedError | RecordedInterruption]:
    base = RecordedInterruption if word is None else RecordedError
    return type(name, (base,), {"__module__": "builtins", "error_type": word})  # so tracebacks show the name alone


@functools.lru_cache(maxsize=1000)
def _event_class(told: str) -> type[GenericEvent]:
    name = told.rpartition(".")[2] if told.startswith(FOREIGN) else ""
    return type(name, (GenericEvent,), {}) if name.isidentifier() else GenericEvent
