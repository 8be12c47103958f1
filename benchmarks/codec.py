"""Encoding an event as a CloudEvent in JSON, compared with the CloudEvents SDK."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.codec import EventCodec
from encore_storage.events import StoreProgressEndEvent
from encore_storage.stores import DictMemoryStore

AT = 1790000000.25


def benches() -> Iterator[Bench]:
    """Yield the row of the codec."""
    yield Bench("the end of an operation as a CloudEvent, against the CloudEvents SDK", encoded, 0.3)


def encoded() -> tuple[Snippet, Snippet]:
    """Encode the same message: ours from the event, the peer from the data that ours extracted."""
    manager, codec = EventManager(), EventCodec()
    with EventRecorder(manager) as recorder:
        DictMemoryStore(name="bench", event_manager=manager).from_bytes("reports/2026/q3.txt", bytes(4096))
    event = recorder.one(StoreProgressEndEvent)
    message, data = codec.decode(codec.encode(event, id="1", time=AT)), codec.data_of(event)
    attributes: dict[str, object] = {"id": message.id, "source": message.source, "type": message.type}
    attributes |= {
        "specversion": "1.0",
        "time": datetime.fromtimestamp(AT, UTC),
        "datacontenttype": "application/json",
    }
    peer = Snippet(
        "write(make(attributes, data))", write=JSONFormat().write, make=CloudEvent, attributes=attributes, data=data
    )
    return Snippet(f"encode(event, id='1', time={AT})", encode=codec.encode, event=event), peer
