"""The cost of a page in a get, and of the events of another process."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench, Snippet
from encore_events import BaseEvent, EventManager
from encore_events.ids import id_of
from encore_events.testing import EventRecorder
from encore_storage.processes.frames import Batch, Label, events_frame, payload_of
from encore_storage.processes.info import ProcessInfo
from encore_storage.server import EventFeed
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber

SIZE = 4096
EVENTS = 300  # of a batch


def benches() -> Iterator[Bench]:
    """Yield the rows of the page."""
    yield Bench("a page added to a get of 4 KiB, in the thread of the store, against metrics added to it", added, 0.5)
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
    """Compare the cost of the page with that of metrics.

    The page has its own thread, which does not run during the fastest rounds; only the thread of the store is measured.
    """
    shown, counted = _with_metrics(), _with_metrics()
    EventFeed().connect(shown)
    return _get(shown, less=_get(counted)), _get(counted, less=_get(EventManager()))


def _with_metrics() -> EventManager:
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    return manager


def _get(manager: EventManager, less: Snippet | None = None) -> Snippet:
    store = DictMemoryStore(name="bench", event_manager=manager)
    store.from_bytes("key", bytes(SIZE))
    return Snippet("store.get_data('key').read()", less=less, store=store)
