"""The codec of events and CloudEvents."""

from __future__ import annotations

import functools
import time as clock
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from encore_events import forks
from encore_events.events import BaseEvent, check_event_class
from encore_events.ids import id_of
from encore_events.text import text_of
from encore_storage.codec.decoding import decode_event
from encore_storage.codec.encoding import EncodingOptions, EncodingPlan
from encore_storage.codec.errors import CodecError
from encore_storage.codec.messages import VERSION, Message, read_envelope
from encore_storage.codec.recorded import GenericEvent, mark_of, recorded_time, source_uri, store_uri
from encore_storage.codec.text import dumps
from encore_storage.codec.types import FOREIGN, TYPES
from encore_storage.redaction import Redaction, checked_keys

_MAX_PLANS = 1000
_store_uri = functools.lru_cache(maxsize=1000)(store_uri)


class EventCodec:
    """An encoder of events as CloudEvents 1.0 in JSON, and a decoder.

    >>> from encore_storage.events import StoreSetEvent
    >>> codec = EventCodec()
    >>> message = codec.encode(StoreSetEvent(store="archive", key="greeting"), id="1", time=1790000000)
    >>> message.startswith(b'{"specversion":"1.0","id":"1","source":"/stores/archive","type":"encore.storage.key.set",')
    True
    >>> codec.decode(message).event
    StoreSetEvent(store='archive', key='greeting', action='set', recorded_at=1790000000.0)

    Sources and listeners are encoded as their names, errors as their class name, error type and message. Attributes
    that a program has added are encoded if they are strings, numbers, booleans or None.

    Where keys are redacted or left out, so is everything else that may quote one: messages, notes, error messages
    and attributes that Encore doesn't know.

    Args:
        keys: True to encode keys as they are, False to leave them out, or a function that returns a replacement.
        metadata: whether to encode the metadata of keys.
        values: whether to encode attributes that are bytes, in base64.
        types: event classes of the program by type. Other classes are encoded as 'python.<module>.<class>', and
            decoded as GenericEvent.

    Raises:
        CodecError: a type is empty or one of Encore's own.
        TypeError: keys is not a bool or a function.
        EventError: a value of types is not an event class.
    """

    def __init__(
        self,
        *,
        keys: bool | Redaction = True,
        metadata: bool = False,
        values: bool = False,
        types: Mapping[str, type[BaseEvent]] | None = None,
    ) -> None:
        registered = {} if types is None else dict(types)
        for name, cls in registered.items():
            check_event_class(cls)
            if not name or name in TYPES:
                raise CodecError(f"type {name!r}", f"is reserved: choose another one for {cls.__qualname__}")
        self._classes = {**registered, **TYPES}
        self._types = {cls: name for name, cls in self._classes.items()}
        self._options = EncodingOptions(checked_keys(keys), metadata, values, self.type_of)
        self._plans: dict[type[BaseEvent], EncodingPlan] = {}

    def __repr__(self) -> str:
        keys, metadata, values, _ = self._options
        return f"<EventCodec: keys={keys!r}, metadata={metadata!r}, values={values!r}>"

    @property
    def hides_keys(self) -> bool:
        """True if keys are left out or replaced."""
        return self._options.keys is not True

    def type_of(self, event: BaseEvent | type[BaseEvent]) -> str:
        """Return the type of an event, or of the events of a class; if it is not registered, its qualified name."""
        if isinstance(event, GenericEvent):
            return event.type
        cls = event if isinstance(event, type) else type(event)
        return self._types.get(cls) or f"{FOREIGN}{cls.__module__}.{cls.__qualname__}"

    def process_of(self, event: BaseEvent) -> int | None:
        """Return the id of the process that emitted an event: this one, or a decoded event's; None if it had none."""
        mark = mark_of(event)
        return forks.current.pid if mark is None else mark.process

    def data_of(self, event: BaseEvent) -> Any:
        """Return the data of an event, for `dumps`."""
        if isinstance(event, GenericEvent):
            return event.data if self._options.keys is True else {}
        return self._plan_of(type(event)).data_of(event)

    def encode(
        self,
        event: BaseEvent,
        *,
        id: str | None = None,  # noqa: A002 (the names that CloudEvents have)
        time: float | None = None,
        data: Any = None,
    ) -> bytes:
        """Encode an event as one line of JSON.

        Args:
            event: the event.
            id: by default, the id of the event, the same in each of its messages.
            time: seconds since the epoch; by default, that of its message if it was decoded, else now.
            data: the result of `data_of`, if the caller has it already.

        Raises:
            ValueError: the time cannot be formatted as a date (or an OverflowError, or an OSError).
        """
        if time is None and (time := recorded_time(event)) is None:
            time = clock.time()
        if isinstance(event, GenericEvent):
            type_, source, data = event.type, source_uri(event.source), self.data_of(event)
        else:
            plan = self._plans.get(type(event)) or self._plan_of(type(event))
            type_, data = plan.type, plan.data_of(event) if data is None else data
            store = data["store"] if plan.is_of_store else None
            name = store if store is None or type(store) is str else text_of(store)
            source = source_uri(event.source) if name is None else _store_uri(name)
        message = {
            "specversion": VERSION,
            "id": id or id_of(event),
            "source": source,
            "type": type_,
            "time": datetime.fromtimestamp(time, UTC),
            "process": self.process_of(event),
            "datacontenttype": "application/json",
            "data": data,
        }
        if message["process"] is None:
            del message["process"]
        return dumps(message)

    def decode(self, text: bytes | str) -> Message:
        """Decode a line of JSON.

        The source of the event is a RecordedSource. Errors are exceptions of a class with the same name, and with
        the same message. `recorded_at` is the time of the message, in seconds since the epoch. Unknown attributes
        are kept. An event of an unknown type is a GenericEvent. Encoding the event again keeps its id and process.

        Raises:
            CodecError: the text is not a CloudEvent, or no event can be made from it.
        """
        envelope = read_envelope(text)
        id_, type_, source, time, _, process = envelope
        event = decode_event(self._classes.get(type_), envelope)
        return Message(id_, type_, source, time, event, process)

    def _plan_of(self, cls: type[BaseEvent]) -> EncodingPlan:
        plan = self._plans.get(cls)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()  # the program creates classes at run time
            plan = self._plans[cls] = EncodingPlan(cls, self.type_of(cls), self._options)
        return plan
