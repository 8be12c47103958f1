"""Decoding of CloudEvents."""

from __future__ import annotations

import json
import os
import traceback
from typing import Any

import pytest

from encore_events import BaseEvent, EncoreError, EventManager, ListenerErrorEvent
from encore_storage import DictMemoryStore
from encore_storage.codec import (
    CodecError,
    EventCodec,
    GenericEvent,
    RecordedError,
    RecordedInterruption,
    RecordedSource,
)
from encore_storage.codec.recorded import Recorded
from encore_storage.errors import KeyNotFoundError, error_type_of
from encore_storage.events import StoreProgressEndEvent, StoreSetEvent, StoreTransactionEndEvent
from tests.codec.support import Measured, Opened

MESSAGE = {
    "specversion": "1.0",
    "id": "1",
    "source": "/stores/archive",
    "type": "encore.storage.key.set",
    "time": "2026-11-24T16:30:00.25Z",
    "data": {"store": "archive", "key": "a"},
}


def decoded(codec: EventCodec | None = None, **changes: Any) -> BaseEvent:
    return (codec or EventCodec()).decode(json.dumps(MESSAGE | changes)).event


def round_trip(event: BaseEvent, codec: EventCodec | None = None) -> Any:
    codec = codec or EventCodec()
    return codec.decode(codec.encode(event)).event


def test_workload_is_unchanged_by_a_round_trip(codec: EventCodec, events: list[BaseEvent]) -> None:
    lines = [codec.encode(event) for event in events]
    messages = [codec.decode(line) for line in lines]

    assert [codec.encode(message.event) for message in messages] == lines
    known = [event for event in events if type(event) is not BaseEvent]
    assert [type(message.event) for message in messages if not isinstance(message.event, GenericEvent)] == [
        type(event) for event in known
    ]


def test_decode_restores_attributes(codec: EventCodec) -> None:
    store = DictMemoryStore(name="archive")
    event = StoreProgressEndEvent(
        store, store="archive", operation="get", bytes=2**70, duration=0.1, key="ä", added="x"
    )

    message = codec.decode(codec.encode(event, id="1", time=12.5))

    assert message[:4] == ("1", "encore.storage.operation.ended", "/stores/archive", 12.5)
    expected = {name: value for name, value in vars(event).items() if name != "source"}
    assert vars(message.event) | {"source": None} == expected | {
        "source": None,
        "steps": -1,
        "recorded_at": 12.5,
        "_encore_id": "1",
        "_encore_recorded": Recorded(12.5, os.getpid(), is_shown=True),
    }
    assert message.process == os.getpid()
    assert message.event.source == RecordedSource("/stores/archive", "archive", "memory")


def test_time_of_a_decoded_event_can_be_changed(codec: EventCodec) -> None:
    event = codec.decode(codec.encode(StoreSetEvent(store="archive", key="a"), time=12.5)).event

    vars(event)["recorded_at"] = 50.0
    again = codec.decode(codec.encode(event)).event

    assert vars(again)["recorded_at"] == 50.0


def test_own_attribute_that_equals_the_time_is_kept(codec: EventCodec) -> None:
    event = codec.decode(codec.encode(StoreSetEvent(store="archive", key="a", recorded_at=12.5), time=12.5)).event

    assert b'"recorded_at":12.5' in codec.encode(event)


def test_decoded_event_can_be_emitted(codec: EventCodec) -> None:
    stores = list[str | None]()
    manager = EventManager(strict=True)
    manager.connect(StoreSetEvent, lambda event: stores.append(event.store), filter={"source.name": "archive"})

    manager.emit(decoded())

    assert stores == ["archive"]


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (KeyNotFoundError("a", "archive"), RecordedError),
        (FileNotFoundError(2, "No such file", "x"), RecordedError),
        (ZeroDivisionError(), RecordedError),
        (KeyboardInterrupt(), RecordedInterruption),
    ],
)
def test_decode_restores_class_name_message_and_type_of_an_error(
    error: BaseException, base: type[BaseException]
) -> None:
    recorded = round_trip(StoreTransactionEndEvent(store="a", error=error)).error

    assert isinstance(recorded, base)
    assert (type(recorded).__name__, str(recorded)) == (type(error).__name__, str(error))
    assert error_type_of(recorded) == error_type_of(error)
    assert getattr(recorded, "errno", None) == getattr(error, "errno", None)
    assert isinstance(recorded, Exception) == isinstance(error, Exception)
    name = type(error).__name__
    assert "".join(traceback.format_exception(recorded)).rstrip() == (f"{name}: {error}" if str(error) else name)


def test_decode_accepts_incomplete_errors() -> None:
    error = decoded(type="encore.storage.operation.ended", data={"error": {"type": "Oops"}}).error  # type: ignore[attr-defined]  # it has one

    assert (type(error).__name__, str(error), error_type_of(error), error.errno) == ("Oops", "", "other", None)
    assert decoded(type="encore.storage.operation.ended", data={"error": "words"}).error == "words"  # type: ignore[attr-defined]  # as above


def test_decode_restores_listener_name_and_event_class_of_a_listener_error(codec: EventCodec) -> None:
    for event in (StoreSetEvent(store="a"), Opened(door="front")):
        failed = ListenerErrorEvent(event=event, listener=decoded, error=ValueError("x"))

        recorded = round_trip(round_trip(failed))

        assert type(recorded.event).__name__ == type(event).__name__
        assert recorded.listener.__qualname__ == "codec.test_decode.decoded"
        assert repr(recorded.listener) == f"<RecordedListener {__name__}.decoded>"
        assert codec.type_of(recorded.event) == codec.type_of(event)
    lost = round_trip(ListenerErrorEvent(event=None, listener=None, error=None))
    assert (lost.event, lost.listener, lost.error) == (None, None, None)
    assert type(round_trip(ListenerErrorEvent(event=GenericEvent(type="acme.new x"))).event) is GenericEvent


def test_decode_of_an_unknown_type_returns_a_generic_event(codec: EventCodec) -> None:
    source, data = "https://example.org/a", {"anything": [1, None]}
    event = decoded(source=source, type="encore.storage.key.renamed", data=data)

    assert isinstance(event, GenericEvent)
    assert (event.type, event.data, event.source.uri) == ("encore.storage.key.renamed", data, source)
    assert event.recorded_at == 1795537800.25  # type: ignore[attr-defined]  # it has one
    assert round_trip(event).data == data
    assert json.loads(codec.encode(event))["source"] == source
    assert codec.data_of(event) == data
    binary = {name: value for name, value in MESSAGE.items() if name != "data"} | {
        "type": "acme",
        "data_base64": "AP8=",
    }
    assert codec.decode(json.dumps(binary)).event.data == b"\x00\xff"  # type: ignore[attr-defined]  # a generic event


def test_decode_keeps_unknown_attributes() -> None:
    event = decoded(data={"store": "archive", "etag": "x", "parts": [1]}, traceparent="00-1")

    assert (event.etag, event.parts) == ("x", [1])  # type: ignore[attr-defined]  # it has them


def test_decode_of_a_message_without_time_sets_no_recorded_at(codec: EventCodec) -> None:
    message = codec.decode(json.dumps({name: value for name, value in MESSAGE.items() if name != "time"}))

    assert message.time is None
    assert not hasattr(message.event, "recorded_at")


@pytest.mark.parametrize("time", ["2026-11-24t16:30:00z", "2026-11-24T17:30:00+01:00", "2026-11-24T16:30:00.000000Z"])
def test_decode_accepts_rfc_3339_times(time: str) -> None:
    assert decoded(time=time).recorded_at == 1795537800  # type: ignore[attr-defined]  # it has one


def test_decode_returns_registered_classes() -> None:
    codec = EventCodec(types={"acme.opened": Opened, "acme.measured": Measured})

    opened, measured = round_trip(Opened(door="front"), codec), round_trip(Measured(2.0), codec)

    assert (type(opened), opened.door) == (Opened, "front")
    assert (type(measured), measured.width, measured.unit, measured.area) == (Measured, 2.0, "m", 4.0)
    assert isinstance(round_trip(Opened(door="front")), GenericEvent)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the message is not JSON: Expecting value"),
        (b"\xff", "the message is not JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "the message is not JSON: it is nested too deep"),
        (b'{"id": NaN}', "the message is not JSON: JSON has no NaN"),
        (b"[]", "the message must be an object, not []"),
        (b"{}", "specversion must be '1.0', not None"),
    ],
)
def test_decode_refuses_what_is_no_cloud_event(codec: EventCodec, text: bytes, sentence: str) -> None:
    with pytest.raises(CodecError) as error:
        codec.decode(text)
    assert str(error.value).startswith(sentence)
    assert issubclass(CodecError, EncoreError)
    assert issubclass(CodecError, ValueError)


def test_decode_accepts_a_source_that_is_not_utf_8() -> None:
    event = decoded(source="/stores/%ff")

    assert (event.source.uri, event.source.name) == ("/stores/%ff", "\ufffd")


ENDED = "encore.storage.operation.ended"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"specversion": "0.3"}, "specversion must be '1.0', not '0.3'"),
        ({"id": ""}, "id must be a non-empty string, not ''"),
        ({"source": None}, "source must be a non-empty string, not None"),
        ({"type": 5}, "type must be a non-empty string, not 5"),
        ({"time": "today"}, "time must be a time with a zone, such as '2026-11-24T16:30:00Z', not 'today'"),
        ({"time": "2026-11-24T16:30:00"}, "time must be a time with a zone, such as"),
        ({"time": 5}, "time must be a time with a zone, such as"),
        ({"datacontenttype": "text/plain"}, "datacontenttype must be application/json, not 'text/plain'"),
        ({"datacontenttype": 5}, "datacontenttype must be application/json, not 5"),
        ({"data_base64": "?"}, "data_base64 is not base64"),
        ({"data_base64": 5}, "data_base64 is not base64"),
        ({"data": "x" * 100}, "data must be an object for the type 'encore.storage.key.set', not 'xxx"),
        ({"data": {"source": 1}}, "data.source is a reserved name: an event sets it itself"),
        ({"data": {"mark_as_handled": 1}}, "data is not valid: StoreSetEvent cannot have an attribute"),
        ({"data": {"self": 1}}, "data is not valid: "),
        ({"data": {"backend": []}}, "data.backend must be a string, not []"),
        ({"type": ENDED, "data": {"duration": "long"}}, "data.duration must be a number, not 'long'"),
        ({"type": ENDED, "data": {"error": {}}}, "data.error.type has the wrong type: None"),
        ({"type": ENDED, "data": {"error": {"type": "a\0"}}}, "data.error.type is not a valid class name"),
        ({"type": ENDED, "data": {"error": {"type": "A", "message": 1}}}, "data.error.message has the wrong type"),
    ],
)
def test_decode_error_names_the_malformed_part(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CodecError) as error:
        decoded(**changes)
    assert str(error.value).startswith(sentence)
    assert len(str(error.value)) < 250
