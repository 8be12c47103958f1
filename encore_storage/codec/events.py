"""Events to CloudEvents, and back."""

from __future__ import annotations

import functools
import time as clock
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from encore_events.events import BaseEvent, check_event_class
from encore_events.ids import id_of
from encore_storage.codec.errors import CodecError
from encore_storage.codec.messages import VERSION, Message, read_envelope
from encore_storage.codec.plans import Choice, EncodingPlan
from encore_storage.codec.reading import event_of
from encore_storage.codec.recalled import GenericEvent, source_uri, store_uri
from encore_storage.codec.text import dumps
from encore_storage.codec.told import text_of
from encore_storage.codec.types import TYPES, foreign_type
from encore_storage.redaction import Redaction, checked_keys

_MOST_CLASSES = 1000
_store_uri = functools.lru_cache(maxsize=1000)(store_uri)


class EventCodec:
    """Makes CloudEvents 1.0 of events, as JSON, and events of those.

    >>> from encore_storage.events import StoreSetEvent
    >>> codec = EventCodec()
    >>> message = codec.encode(StoreSetEvent(store="archive", key="greeting"), id="1", time=1790000000)
    >>> message.startswith(b'{"specversion":"1.0","id":"1","source":"/stores/archive","type":"encore.storage.key.set",')
    True
    >>> codec.decode(message).event
    StoreSetEvent(store='archive', key='greeting', action='set', recorded_at=1790000000.0)

    Sources and listeners are told by their names, errors by their type and their words. Attributes that a program has
    added are told if they are strings, numbers, booleans or None.

    Where keys are redacted or left out, nothing else that may quote one is told either: no message, no notes, no words
    of errors, and no attributes that Encore doesn't know.

    Args:
        keys: True to tell keys as they are, False to leave them out, or a function of a key that gives what is told
            in its place.
        metadata: whether to tell the metadata of keys.
        values: whether to tell attributes that are bytes, in base64.
        types: classes of a program's own events, by the types that they are told as. Other ones are told as
            'python.<module>.<class>', and come back as GenericEvent.

    Raises:
        CodecError: a type is one of Encore's own.
        TypeError: keys can't redact any.
        EventError: what is registered is no event class.
    """

    def __init__(
        self,
        *,
        keys: bool | Redaction = True,
        metadata: bool = False,
        values: bool = False,
        types: Mapping[str, type[BaseEvent]] | None = None,
    ) -> None:
        """Make a codec; see the class."""
        registered = {} if types is None else dict(types)
        for name, cls in registered.items():
            check_event_class(cls)
            if not name or name in TYPES:
                raise CodecError(f"the type {name!r}", f"can't be that of {cls.__qualname__}: it is Encore's own")
        self._classes = {**registered, **TYPES}
        self._types = {cls: name for name, cls in self._classes.items()}
        self._choice = Choice(checked_keys(keys), metadata, values, self.type_of)
        self._plans: dict[type[BaseEvent], EncodingPlan] = {}

    def __repr__(self) -> str:
        """What it tells."""
        keys, metadata, values, _ = self._choice
        return f"<EventCodec: keys={keys!r}, metadata={metadata!r}, values={values!r}>"

    def type_of(self, event: BaseEvent | type[BaseEvent]) -> str:
        """The type that the event, or each event of the class, is told as."""
        if isinstance(event, GenericEvent):
            return event.type
        cls = event if isinstance(event, type) else type(event)
        return self._types.get(cls) or foreign_type(cls)

    def data_of(self, event: BaseEvent) -> Any:
        """What is told of the event beside its type, time and source, for `dumps`."""
        if isinstance(event, GenericEvent):
            return event.data if self._choice.keys is True else {}
        return self._plan_of(type(event)).data_of(event)

    def encode(
        self,
        event: BaseEvent,
        *,
        id: str | None = None,  # noqa: A002 (the names that CloudEvents have)
        time: float | None = None,
        data: Any = None,
    ) -> bytes:
        """The event as one line of JSON.

        Args:
            event: the event.
            id: of the message; by default, the id of the event, the same in each message of it.
            time: seconds since the epoch; by default, the event's `recorded_at` if it has been recorded, else now.
            data: what `data_of` gives for the event, for whoever has asked already.

        Raises:
            ValueError: the time can't be written (or an OverflowError, or an OSError).
        """
        if time is None and (time := event.__dict__.get("recorded_at")) is None:
            time = clock.time()
        if isinstance(event, GenericEvent):
            type_, source, data = event.type, source_uri(event.source), self.data_of(event)
        else:
            plan = self._plans.get(type(event)) or self._plan_of(type(event))
            type_, data = plan.type, plan.data_of(event) if data is None else data
            store = data["store"] if plan.is_of_store else None
            source = (
                source_uri(event.source)
                if store is None
                else _store_uri(store if type(store) is str else text_of(store))
            )
        return dumps(
            {
                "specversion": VERSION,
                "id": id or id_of(event),
                "source": source,
                "type": type_,
                "time": datetime.fromtimestamp(time, UTC),
                "datacontenttype": "application/json",
                "data": data,
            }
        )

    def decode(self, text: bytes | str) -> Message:
        """The message that a line of JSON is, and its event.

        The source of the event is a RecordedSource with the name that it had; errors are exceptions whose class has
        the same name, with the same words; `recorded_at` is the time, in seconds since the epoch. Attributes that
        this version doesn't know are kept. A type that the codec doesn't know gives a GenericEvent.

        Raises:
            CodecError: it is no CloudEvent, or no event can be made of it.
        """
        envelope = read_envelope(text)
        event = event_of(self._classes.get(envelope.type), envelope)
        return Message(envelope.id, envelope.type, envelope.source, envelope.time, event)

    def _plan_of(self, cls: type[BaseEvent]) -> EncodingPlan:
        plan = self._plans.get(cls)
        if plan is None:
            if len(self._plans) >= _MOST_CLASSES:
                self._plans.clear()  # of a program that makes classes as it goes
            plan = self._plans[cls] = EncodingPlan(cls, self.type_of(cls), self._choice)
        return plan
