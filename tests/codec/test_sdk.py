"""Compatibility with the CloudEvents SDK, in both directions."""

from __future__ import annotations

import datetime as dt
import json

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from encore_events import BaseEvent
from encore_storage.codec import EventCodec

SDK = JSONFormat()


def test_sdk_reads_every_message(codec: EventCodec, events: list[BaseEvent]) -> None:
    for event in events:
        line = codec.encode(event, id="1", time=1790000000.25)

        read = SDK.read(None, line)

        assert read.get_specversion() == "1.0"
        assert (read.get_id(), read.get_type()) == ("1", codec.type_of(event))
        assert read.get_source() == json.loads(line)["source"]
        assert read.get_time() == dt.datetime.fromtimestamp(1790000000.25, dt.UTC)
        assert read.get_datacontenttype() == "application/json"
        assert read.get_data() == json.loads(line)["data"]


def test_decode_reads_every_message_of_the_sdk(codec: EventCodec, events: list[BaseEvent]) -> None:
    for event in events:
        line = codec.encode(event)

        message = codec.decode(SDK.write(SDK.read(None, line)))

        assert codec.encode(message.event, id=message.id) == line


def test_decode_reads_a_message_made_with_the_sdk(codec: EventCodec) -> None:
    time = dt.datetime(2026, 11, 24, 16, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    attributes = {
        "id": "x",
        "source": "/stores/a",
        "type": "encore.storage.key.set",
        "specversion": "1.0",
        "time": time,
    }

    message = codec.decode(SDK.write(CloudEvent(attributes, {"store": "a", "key": "k"})))

    assert (message.id, message.time) == ("x", time.timestamp())
    assert (message.event.store, message.event.key) == ("a", "k")  # type: ignore[attr-defined]  # it is a StoreSetEvent
