"""Streams of events compared with the queues of the standard library."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue

from benchmarks.harness import Bench, Snippet
from encore_events import BaseEvent, EventManager

Pair = tuple[Snippet, Snippet]

CAPACITY = 100


def benches() -> Iterator[Bench]:
    """Yield the rows of streams of events."""
    yield Bench("a stream gets and returns an event, against a queue.SimpleQueue put and get", read, 28.0)
    yield Bench("a full stream drops an event and adds one, against deque(maxlen=100).append", full, 75.0)


def read() -> Pair:
    """Compare an emit and a read with a queue that knows no listeners, drops or times."""
    manager, event, queue = EventManager(), BaseEvent(), SimpleQueue[BaseEvent]()
    stream = manager.stream(BaseEvent)
    ours = Snippet("manager.emit(event)\nstream.get()", manager=manager, stream=stream, event=event)
    return ours, Snippet("queue.put(event)\nqueue.get()", queue=queue, event=event)


def full() -> Pair:
    """Compare an emit into a full stream, which counts and reports drops, with a deque, which doesn't."""
    manager, event, newest = EventManager(), BaseEvent(), deque[BaseEvent](maxlen=CAPACITY)
    stream = manager.stream(BaseEvent, capacity=CAPACITY)
    ours = Snippet("manager.emit(event)", manager=manager, stream=stream, event=event)
    return ours, Snippet("newest.append(event)", newest=newest, event=event)
