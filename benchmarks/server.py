"""The cost of a page in a get, and of the events of another process."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from benchmarks.harness import Bench, Snippet
from benchmarks.metrics import get, with_metrics, write_by_hand
from encore_events import BaseEvent, EventManager
from encore_events.ids import id_of
from encore_events.testing import EventRecorder
from encore_storage.processes.frames import Batch, Label, events_frame, payload_of
from encore_storage.processes.info import ProcessInfo
from encore_storage.server import EventFeed
from encore_storage.stores import DictMemoryStore

EVENTS = 300  # of a batch


def benches() -> Iterator[Bench]:
    """Yield the rows of the page."""
    yield Bench("a page added to metrics of a get, in its own thread, against its samples by labels(...)", added, 0.15)
    name = f"{EVENTS} events of another process taken by the one that serves, against orjson.loads of them"
    yield Bench(name, forwarded, reach_us=2.5 * EVENTS)


def forwarded() -> tuple[Snippet, Snippet]:
    """Compare a batch of another process, taken by the process that serves, with parsing its events."""
    manager, feed = EventManager(), EventFeed()
    recorder = EventRecorder(manager)
    store = DictMemoryStore(name="bench", event_manager=manager)
    for number in range(EVENTS // 3):
        store.from_bytes(f"key-{number}", b"value")
    batch, texts = Batch(), list[bytes]()
    for event in recorder.of(BaseEvent):
        text = feed.codec.encode(event)
        label = Label(feed.codec.type_of(event), "bench", "set", getattr(event, "outcome", None), 4711)
        batch.add(0.0, label, id_of(event), text)
        texts.append(text)
    assert batch.count == EVENTS
    member = feed.join(ProcessInfo(4711, "worker.py", 0.0))
    taken = Snippet("member.take_events(payload)", member=member, payload=payload_of(events_frame(batch.payload())))
    return taken, Snippet("for text in texts: loads(text)", loads=orjson.loads, texts=texts)


def added() -> tuple[Snippet, Snippet]:
    """Compare the cost of the page, beyond that of metrics, with direct writes of the samples of a get.

    The page has a thread that does not run during the fastest rounds; only the thread of the store is measured.
    """
    shown = with_metrics()
    EventFeed().connect(shown)
    return get(shown, less=get(with_metrics())), write_by_hand()
