"""Encoding of events as CloudEvents."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from encore_events import BaseEvent, EventsDroppedEvent, ListenerErrorEvent
from encore_events.ids import id_of
from encore_storage import DictMemoryStore
from encore_storage.codec import TYPES, CodecError, EventCodec, GenericEvent
from encore_storage.events import StoreEvent, StoreProgressEndEvent, StoreSetEvent, StoreTransactionEndEvent
from tests.codec.support import Measured, Opened, SilentError, data, encoded


def test_encode_writes_the_attributes_of_a_cloud_event(encoder: str) -> None:
    store = DictMemoryStore(name="archive")
    event = StoreSetEvent(store, store="archive", key="a", metadata={"x": 1}, transaction_id=None, action="set")

    line = EventCodec().encode(event, id="1", time=1790000000.25)

    assert b"\n" not in line
    assert json.loads(line) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/stores/archive",
        "type": "encore.storage.key.set",
        "time": "2026-09-21T14:13:20.250000Z",
        "process": os.getpid(),
        "datacontenttype": "application/json",
        "data": {"store": "archive", "key": "a", "transaction_id": None, "action": "set", "backend": "memory"},
    }


def test_id_is_unique_and_the_same_in_every_encoding(codec: EventCodec) -> None:
    event = StoreSetEvent(store="a")
    one, other = encoded(event, codec), encoded(StoreSetEvent(store="a"), codec)

    assert one["id"] != other["id"]
    assert encoded(event, EventCodec(keys=False))["id"] == one["id"] == id_of(event)
    assert abs(dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(one["time"])) < dt.timedelta(minutes=10)


def test_key_change_has_its_timestamp_in_its_data(codec: EventCodec) -> None:
    assert data(StoreSetEvent(store="a", timestamp=12.5), codec)["timestamp"] == 12.5


def test_recorded_event_keeps_its_time(codec: EventCodec) -> None:
    decoded = codec.decode(codec.encode(StoreSetEvent(store="a"), time=0.5)).event
    message = encoded(decoded, codec)

    assert message["time"] == "1970-01-01T00:00:00.500000Z"
    assert "recorded_at" not in message["data"]


class Sensor(BaseEvent):
    """A program's own event, whose private attributes have plain names."""

    def __init__(self, *, value: object = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._id = self._process = self._recorded = value


@pytest.mark.parametrize("value", [0.5, 0, 2.5e11, 10**400, -1e400, math.nan, "2026", Decimal(5), {}, object(), None])
@pytest.mark.parametrize("name", ["recorded_at", "value"])
def test_attribute_of_a_program_is_no_mark_of_a_decoded_event(codec: EventCodec, name: str, value: object) -> None:
    message = encoded(Sensor(**{name: value}), codec)

    assert abs(dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(message["time"])) < dt.timedelta(minutes=10)
    assert isinstance(message["id"], str)
    assert message["process"] == os.getpid()
    assert "_id" not in message["data"]


@pytest.mark.parametrize("value", [0.5, "2026", 7])
def test_recorded_at_of_a_program_is_data(codec: EventCodec, value: object) -> None:
    first = codec.decode(codec.encode(StoreSetEvent(store="a", recorded_at=value), time=0.5))
    again = codec.decode(codec.encode(first.event))

    assert first.time == again.time == 0.5
    assert vars(first.event)["recorded_at"] == vars(again.event)["recorded_at"] == value


def test_encode_refuses_a_time_that_is_nan(codec: EventCodec) -> None:
    with pytest.raises(ValueError, match="NaN"):
        codec.encode(StoreSetEvent(store="a"), time=math.nan)


@pytest.mark.parametrize(("name", "cls"), TYPES.items())
def test_type_of_each_class_is_its_key_in_types(codec: EventCodec, name: str, cls: type[BaseEvent]) -> None:
    assert codec.type_of(cls) == codec.type_of(cls()) == name
    assert EventCodec(types={"acme.opened": Opened}).type_of(Opened(door="front")) == "acme.opened"


def test_type_of_an_unregistered_class_is_its_qualified_name(codec: EventCodec) -> None:
    class Special(StoreSetEvent):
        pass

    assert codec.type_of(Opened) == "python.tests.codec.support.Opened"
    assert codec.type_of(Special(store="a")) == f"python.{__name__}.{Special.__qualname__}"
    assert encoded(Special(store="a"), codec)["source"] == "/stores/a"
    assert data(Special(store="a"), codec)["action"] == "set"
    assert codec.type_of(GenericEvent(type="acme.new", data=1)) == "acme.new"


def test_codec_refuses_reserved_types_and_other_classes() -> None:
    with pytest.raises(CodecError, match=r"type 'encore.storage.key.set' is reserved: choose another one for Opened"):
        EventCodec(types={"encore.storage.key.set": Opened})
    with pytest.raises(TypeError, match="not an event class"):
        EventCodec(types={"acme.int": int})  # type: ignore[dict-item]  # the mistake


@pytest.mark.parametrize(
    ("event", "source"),
    [
        (StoreEvent(store="ä/b c"), "/stores/%C3%A4%2Fb%20c"),
        (StoreEvent(store="\ud800"), "/stores/%ED%A0%80"),
        (StoreEvent(DictMemoryStore(name="from its source")), "/stores/from%20its%20source"),
        (StoreEvent(store=5), "/stores/5"),
        (StoreEvent(), "/sources/unknown"),
        (BaseEvent(), "/sources/unknown"),
        (BaseEvent("me"), "/sources/str/me"),
        (BaseEvent(Path("/tmp/a b")), "/sources/PosixPath/a%20b"),  # it has a name
        (BaseEvent(object()), "/sources/object"),
    ],
)
def test_source_is_made_from_store_or_object(codec: EventCodec, event: BaseEvent, source: str) -> None:
    assert encoded(event, codec)["source"] == source


def test_store_and_backend_come_from_the_source(codec: EventCodec) -> None:
    assert data(StoreEvent(DictMemoryStore(name="archive")), codec) == {"store": "archive", "backend": "memory"}


def test_backend_of_a_source_without_one_is_its_class(codec: EventCodec) -> None:
    assert data(StoreEvent("me", store="a"), codec)["backend"] == "str"
    assert data(StoreEvent(store="a"), codec)["backend"] is None
    assert data(StoreEvent(store="a", backend="mine"), codec)["backend"] == "mine"


def test_added_attributes_are_encoded_if_they_are_scalars(codec: EventCodec) -> None:
    added = {"user": "ada", "tries": 3, "share": 0.5, "is_last": True, "note": None}
    event = StoreSetEvent(store="a", **added, things=[1], words={"a": 1}, blob=b"x", _private=1, thing=object())

    assert data(event, codec) == {"store": "a", "action": "set", "backend": None, **added}


def test_declared_attributes_are_encoded_if_json_supports_them(codec: EventCodec) -> None:
    assert data(Opened(door="front", contents=["a", {"b": 1}]), codec) == {"door": "front", "contents": ["a", {"b": 1}]}
    assert data(Opened(door="front", contents=object()), codec) == {"door": "front"}
    assert data(Opened(door="front", contents=b"x"), codec) == {"door": "front"}
    assert data(Measured(2.0), codec) == {"width": 2.0, "unit": "m"}


def test_bytes_are_encoded_on_request() -> None:
    codec = EventCodec(values=True)

    assert data(Opened(door="front", contents=bytearray(b"\x00\xff")), codec)["contents"] == "AP8="
    assert data(BaseEvent(blob=memoryview(b"a")), codec) == {"blob": "YQ=="}


def test_metadata_is_encoded_on_request() -> None:
    metadata = {"author": "Ada", "tags": ["a", 1, None, {"b": 0.5}]}
    event = StoreSetEvent(store="a", key="k", metadata=metadata)

    assert data(event, EventCodec(metadata=True))["metadata"] == metadata
    assert "metadata" not in data(event)
    assert "Ada" not in EventCodec().encode(event).decode()


def test_error_is_encoded_as_an_object(codec: EventCodec, encoder: str) -> None:
    end = StoreProgressEndEvent(store="a", error=FileNotFoundError(2, "No such file", "x"), error_type="not_found")
    transaction = StoreTransactionEndEvent(store="a", error=ZeroDivisionError("by zero"))

    assert data(end, codec)["error"] == {
        "type": "FileNotFoundError",
        "message": "[Errno 2] No such file: 'x'",
        "error_type": "not_found",
        "errno": 2,
    }
    assert data(transaction, codec)["error"] == {
        "type": "ZeroDivisionError",
        "message": "by zero",
        "error_type": "other",
    }
    assert data(transaction, codec)["error_type"] == "other"
    assert data(StoreProgressEndEvent(error=KeyboardInterrupt()))["error"]["error_type"] is None
    assert data(StoreProgressEndEvent(error=SilentError()))["error"]["message"] == "<SilentError>"
    assert data(StoreProgressEndEvent(error="in words"))["error"] == "in words"
    assert data(Opened(door="front", contents=ValueError("x")))["contents"]["type"] == "ValueError"


@pytest.mark.parametrize("listener", [data, partial(partial(data), codec=None)])
def test_listener_is_encoded_as_its_qualified_name(codec: EventCodec, listener: object) -> None:
    event = ListenerErrorEvent(event=StoreSetEvent(store="a"), listener=listener, error=SilentError())

    assert data(event, codec) == {
        "event": "encore.storage.key.set",
        "listener": "tests.codec.support.data",
        "error": {"type": "SilentError", "message": "<SilentError>", "error_type": "other"},
    }


def test_events_dropped_event_is_encoded(codec: EventCodec) -> None:
    dropped = {"queue": "worker", "reason": "exit", "count": 3}

    assert data(EventsDroppedEvent(**dropped), codec) == dropped


def test_codec_encodes_more_classes_than_it_keeps_plans_for(codec: EventCodec) -> None:
    classes = [type(f"Event{number}", (BaseEvent,), {}) for number in range(1001)]

    assert {data(cls(a=1), codec)["a"] for cls in classes} == {1}
    assert codec.data_of(classes[-1](a=1)) == codec.data_of(classes[0](a=1)) == {"a": 1}


def test_repr_shows_the_options() -> None:
    assert repr(EventCodec(metadata=True)) == "<EventCodec: keys=True, metadata=True, values=False>"


@pytest.mark.parametrize("attempts", [{}, {"attempts": 1}, {"attempts": 3}], ids=["unset", "one", "three"])
def test_attempts_are_encoded_only_if_they_were_set(codec: EventCodec, attempts: dict[str, int]) -> None:
    event = StoreProgressEndEvent(store="archive", operation="get", **attempts)

    data = json.loads(codec.encode(event))["data"]

    assert {name: value for name, value in data.items() if name == "attempts"} == attempts


def test_encoding_again_keeps_the_process_of_a_decoded_event(codec: EventCodec) -> None:
    line = codec.encode(StoreSetEvent(store="a"), id="1", time=0).replace(b'"process":%d' % os.getpid(), b'"process":7')

    assert encoded(codec.decode(line).event, codec)["process"] == 7


@pytest.mark.parametrize("given", [b'"x"', b"0", b"1.5", b"null", b"true"])
def test_unknown_process_of_a_decoded_event_is_left_out(codec: EventCodec, given: bytes) -> None:
    line = codec.encode(StoreSetEvent(store="a"), id="1", time=0)
    message = codec.decode(line.replace(b'"process":%d' % os.getpid(), b'"process":' + given))

    assert message.process is None
    assert "process" not in encoded(message.event, codec)
