"""Events that are read again."""

from __future__ import annotations

import json
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


def read(codec: EventCodec | None = None, **changes: Any) -> BaseEvent:
    return (codec or EventCodec()).decode(json.dumps(MESSAGE | changes)).event


def again(event: BaseEvent, codec: EventCodec | None = None) -> Any:
    codec = codec or EventCodec()
    return codec.decode(codec.encode(event)).event


def test_a_workload_is_the_same_when_it_is_written_again(codec: EventCodec, events: list[BaseEvent]) -> None:
    lines = [codec.encode(event) for event in events]
    messages = [codec.decode(line) for line in lines]

    assert [codec.encode(message.event) for message in messages] == lines
    known = [event for event in events if type(event) is not BaseEvent]
    assert [type(message.event) for message in messages if not isinstance(message.event, GenericEvent)] == [
        type(event) for event in known
    ]


def test_attributes_are_what_they_were(codec: EventCodec) -> None:
    store = DictMemoryStore(name="archive")
    event = StoreProgressEndEvent(
        store, store="archive", operation="get", bytes=2**70, duration=0.1, key="ä", added="x"
    )

    message = codec.decode(codec.encode(event, id="1", time=12.5))

    assert message[:4] == ("1", "encore.storage.operation.ended", "/stores/archive", 12.5)
    was = {name: value for name, value in vars(event).items() if name != "source"}
    assert vars(message.event) | {"source": None} == was | {
        "source": None,
        "steps": -1,
        "recorded_at": 12.5,
        "_id": "1",
    }
    assert message.event.source == RecordedSource("/stores/archive", "archive", "memory")


def test_an_event_can_be_emitted_again(codec: EventCodec) -> None:
    heard = list[str | None]()
    manager = EventManager(strict=True)
    manager.connect(StoreSetEvent, lambda event: heard.append(event.store), filter={"source.name": "archive"})

    manager.emit(read())

    assert heard == ["archive"]


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (KeyNotFoundError("a", "archive"), RecordedError),
        (FileNotFoundError(2, "No such file", "x"), RecordedError),
        (ZeroDivisionError(), RecordedError),
        (KeyboardInterrupt(), RecordedInterruption),
    ],
)
def test_an_error_has_its_name_its_words_and_its_kind(error: BaseException, base: type[BaseException]) -> None:
    recorded = again(StoreTransactionEndEvent(store="a", error=error)).error

    assert isinstance(recorded, base)
    assert (type(recorded).__name__, str(recorded)) == (type(error).__name__, str(error))
    assert error_type_of(recorded) == error_type_of(error)
    assert getattr(recorded, "errno", None) == getattr(error, "errno", None)
    assert isinstance(recorded, Exception) == isinstance(error, Exception)
    name = type(error).__name__
    assert "".join(traceback.format_exception(recorded)).rstrip() == (f"{name}: {error}" if str(error) else name)


def test_an_error_of_another_program_may_be_less_than_whole() -> None:
    error = read(type="encore.storage.operation.ended", data={"error": {"type": "Oops"}}).error  # type: ignore[attr-defined]  # it has one

    assert (type(error).__name__, str(error), error_type_of(error), error.errno) == ("Oops", "", "other", None)
    assert read(type="encore.storage.operation.ended", data={"error": "words"}).error == "words"  # type: ignore[attr-defined]  # as above


def test_a_listener_that_failed_has_its_name_and_its_event_has_its_class(codec: EventCodec) -> None:
    for event in (StoreSetEvent(store="a"), Opened(door="front")):
        failed = ListenerErrorEvent(event=event, listener=read, error=ValueError("x"))

        recorded = again(again(failed))

        assert type(recorded.event).__name__ == type(event).__name__
        assert recorded.listener.__qualname__ == "codec.test_decode.read"
        assert repr(recorded.listener) == f"<RecordedListener {__name__}.read>"
        assert codec.type_of(recorded.event) == codec.type_of(event)
    lost = again(ListenerErrorEvent(event=None, listener=None, error=None))
    assert (lost.event, lost.listener, lost.error) == (None, None, None)
    assert type(again(ListenerErrorEvent(event=GenericEvent(type="acme.new x"))).event) is GenericEvent


def test_a_type_that_nobody_knows_is_a_generic_event(codec: EventCodec) -> None:
    source, data = "https://example.org/a", {"anything": [1, None]}
    event = read(source=source, type="encore.storage.key.renamed", data=data)

    assert isinstance(event, GenericEvent)
    assert (event.type, event.data, event.source.uri) == ("encore.storage.key.renamed", data, source)
    assert event.recorded_at == 1795537800.25  # type: ignore[attr-defined]  # it has one
    assert again(event).data == data
    assert json.loads(codec.encode(event))["source"] == source
    assert codec.data_of(event) == data
    binary = {name: value for name, value in MESSAGE.items() if name != "data"} | {
        "type": "acme",
        "data_base64": "AP8=",
    }
    assert codec.decode(json.dumps(binary)).event.data == b"\x00\xff"  # type: ignore[attr-defined]  # a generic event


def test_what_a_newer_version_tells_beside_is_kept() -> None:
    event = read(data={"store": "archive", "etag": "x", "parts": [1]}, traceparent="00-1")

    assert (event.etag, event.parts) == ("x", [1])  # type: ignore[attr-defined]  # it was told


def test_a_message_without_a_time_makes_an_event_without_one(codec: EventCodec) -> None:
    message = codec.decode(json.dumps({name: value for name, value in MESSAGE.items() if name != "time"}))

    assert message.time is None
    assert not hasattr(message.event, "recorded_at")


@pytest.mark.parametrize("time", ["2026-11-24t16:30:00z", "2026-11-24T17:30:00+01:00", "2026-11-24T16:30:00.000000Z"])
def test_times_are_those_of_rfc_3339(time: str) -> None:
    assert read(time=time).recorded_at == 1795537800  # type: ignore[attr-defined]  # it has one


def test_a_program_registers_what_it_wants_to_have_back() -> None:
    codec = EventCodec(types={"acme.opened": Opened, "acme.measured": Measured})

    opened, measured = again(Opened(door="front"), codec), again(Measured(2.0), codec)

    assert (type(opened), opened.door) == (Opened, "front")
    assert (type(measured), measured.width, measured.unit, measured.area) == (Measured, 2.0, "m", 4.0)
    assert isinstance(again(Opened(door="front")), GenericEvent)


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
def test_what_is_no_cloud_event_is_refused(codec: EventCodec, text: bytes, sentence: str) -> None:
    with pytest.raises(CodecError) as error:
        codec.decode(text)
    assert str(error.value).startswith(sentence)
    assert issubclass(CodecError, EncoreError)
    assert issubclass(CodecError, ValueError)


def test_a_source_need_not_be_of_encore() -> None:
    event = read(source="/stores/%ff")

    assert (event.source.uri, event.source.name) == ("/stores/%ff", "\ufffd")


ENDED = "encore.storage.operation.ended"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"specversion": "0.3"}, "specversion must be '1.0', not '0.3'"),
        ({"id": ""}, "id must be a string that isn't empty, not ''"),
        ({"source": None}, "source must be a string that isn't empty, not None"),
        ({"type": 5}, "type must be a string that isn't empty, not 5"),
        ({"time": "today"}, "time must be a time such as '2026-11-24T16:30:00Z', with its zone, not 'today'"),
        ({"time": "2026-11-24T16:30:00"}, "time must be a time such as"),
        ({"time": 5}, "time must be a time such as"),
        ({"datacontenttype": "text/plain"}, "datacontenttype must be application/json, not 'text/plain'"),
        ({"datacontenttype": 5}, "datacontenttype must be application/json, not 5"),
        ({"data_base64": "?"}, "data_base64 is not base64"),
        ({"data_base64": 5}, "data_base64 is not base64"),
        ({"data": "x" * 100}, "data must be an object for the type 'encore.storage.key.set', not 'xxx"),
        ({"data": {"source": 1}}, "data.source can't be an attribute: an event has that for itself"),
        ({"data": {"mark_as_handled": 1}}, "data can't be that of an event: StoreSetEvent cannot have an attribute"),
        ({"data": {"self": 1}}, "data can't be that of an event: "),
        ({"data": {"backend": []}}, "data.backend must be a string, not []"),
        ({"type": ENDED, "data": {"duration": "long"}}, "data.duration must be a number, not 'long'"),
        ({"type": ENDED, "data": {"error": {}}}, "data.error.type is not that of an error: None"),
        ({"type": ENDED, "data": {"error": {"type": "a\0"}}}, "data.error.type can't be the name of a class"),
        ({"type": ENDED, "data": {"error": {"type": "A", "message": 1}}}, "data.error.message is not that of an error"),
    ],
)
def test_a_malformed_message_is_told_with_its_place(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CodecError) as error:
        read(**changes)
    assert str(error.value).startswith(sentence)
    assert len(str(error.value)) < 250
