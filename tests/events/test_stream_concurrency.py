"""Exact counts and no deadlocks of streams under threads, garbage collections and forks."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from encore_events import BaseEvent, EventManager, EventsDroppedEvent, EventStream
from encore_events.testing import EventRecorder
from tests.events.stepping import begin, end

Policy = Literal["block", "drop_oldest", "drop_newest"]
POLICIES: tuple[Policy, ...] = ("block", "drop_oldest", "drop_newest")

EMITTERS = 4
EACH = 3000


class Opened(BaseEvent):
    emitter: int
    number: int


@pytest.fixture(autouse=True)
def _frequent_thread_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def emitters(manager: EventManager) -> list[threading.Thread]:
    together = threading.Barrier(EMITTERS)

    def emit(emitter: int) -> None:
        together.wait(10)
        for number in range(EACH):
            manager.emit(Opened(emitter=emitter, number=number))

    return [begin(emit, emitter) for emitter in range(EMITTERS)]


def read(stream: EventStream[Any], into: list[BaseEvent]) -> None:
    into.extend(stream)


def read_in_a_loop(stream: EventStream[Any], into: list[BaseEvent]) -> None:
    async def run() -> None:
        async for event in stream:
            into.append(event)  # noqa: PERF401 (keeps what was read if the rest fails)

    asyncio.run(run())


def read_in_batches(stream: EventStream[Any], into: list[BaseEvent]) -> None:
    while stream.wait():
        into.extend(event for _, event in stream.drain())


READERS: list[Callable[[EventStream[Any], list[BaseEvent]], None]] = [read, read_in_a_loop, read_in_batches]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("readers", [[read], [read_in_a_loop], [read_in_batches], READERS])
@pytest.mark.parametrize("capacity", [1, 20])
def test_every_event_is_read_once_or_counted_as_dropped(
    manager: EventManager,
    policy: Policy,
    readers: list[Callable[[EventStream[Any], list[BaseEvent]], None]],
    capacity: int,
) -> None:
    recorder = EventRecorder(manager, EventsDroppedEvent)
    stream = manager.stream(Opened, capacity=capacity, policy=policy)
    got: list[list[BaseEvent]] = [[] for _ in readers]
    threads = [begin(reader, stream, into) for reader, into in zip(readers, got, strict=True)]

    for emitter in emitters(manager):
        end(emitter)
    stream.close()
    for thread in threads:
        end(thread)

    events = [event for into in got for event in into]
    opened = Counter((event.emitter, event.number) for event in events if isinstance(event, Opened))
    assert max(opened.values()) == 1
    assert len(opened) + stream.dropped == EMITTERS * EACH
    assert reported_by(stream, events) == reported_by(stream, recorder.events) == stream.dropped
    assert policy != "block" or stream.dropped == 0
    assert all(in_order(into) for into in got)


def in_order(events: list[BaseEvent]) -> bool:
    """Return whether the events of each emitter are in order."""
    latest: dict[int, int] = {}
    for event in events:
        if isinstance(event, Opened):
            if event.number <= latest.get(event.emitter, -1):
                return False
            latest[event.emitter] = event.number
    return True


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_unread_stream_never_exceeds_its_capacity(manager: EventManager, policy: Policy) -> None:
    stream = manager.stream(Opened, capacity=10, policy=policy)

    for emitter in emitters(manager):
        end(emitter)

    assert len(stream) == 10
    assert stream.dropped == EMITTERS * EACH - 10


def test_two_full_streams_of_all_events_report_each_other_exactly(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    streams = [manager.stream(BaseEvent, capacity=5, name=name) for name in "ab"]
    got: list[list[BaseEvent]] = [[], []]
    threads = [begin(read, stream, into) for stream, into in zip(streams, got, strict=True)]

    for emitter in emitters(manager):
        end(emitter)
    manager.close()
    for thread in threads:
        end(thread)

    for stream, into in zip(streams, got, strict=True):
        assert reported_by(stream, into) == reported_by(stream, recorder.events) == stream.dropped
        assert len([event for event in into if isinstance(event, Opened)]) + stream.dropped >= EMITTERS * EACH


def reported_by(stream: EventStream[Any], events: list[BaseEvent]) -> int:
    """Return the number of drops that the stream reports."""
    return sum(event.count for event in events if isinstance(event, EventsDroppedEvent) and event.source is stream)


@pytest.mark.parametrize("policy", POLICIES)
def test_garbage_collections_neither_deadlock_nor_lose_counts(
    untraced_child: Callable[[str], str], policy: str
) -> None:
    printed = untraced_child(f"""
policy = {policy!r}
import gc, itertools, threading, time
from encore_events import *

class Opened(BaseEvent): pass
class Ended(BaseEvent): pass

manager = EventManager()
foreign = threading.RLock()
stream = manager.stream(Opened, capacity=3, policy=policy)
recorded = []
manager.connect(EventsDroppedEvent, recorded.append, where=lambda event: event.source is stream)
emitted, late, died = itertools.count(), itertools.count(), itertools.count()
read = []

def emit():
    next(emitted)
    manager.emit(Opened())
    stream.closed and next(late)  # it may have been too late

class Finalized:
    def __init__(self):
        self.itself = self
        self.stream = manager.stream(Opened, capacity=1, name="mine")
    def __del__(self):
        next(died)
        with foreign:
            if policy != "block":
                emit()
            read.append(stream.get(0))
            next(died) % 2 and self.stream.close()

def work():
    while time.monotonic() < end:
        Finalized()
        with foreign:
            Finalized()
        emit()
        read.append(stream.get(0))

def wait_often():
    for event in stream:
        Finalized()
        read.append(event)

end = time.monotonic() + 1
threads = [threading.Thread(target=work) for work in (work, work)]
reader = threading.Thread(target=wait_often)
reader.start()
gc.set_threshold(1)
for thread in threads: thread.start()
for thread in threads: thread.join()
gc.disable()
gc.collect()
stream.close()
reader.join()
gc.collect()
read += stream
dropped = sum(event.count for event in read if isinstance(event, EventsDroppedEvent))
events = sum(isinstance(event, Opened) for event in read)
assert next(died) > 20
print(manager)
print(0 <= next(emitted) - events - dropped <= next(late))
print(dropped - stream.dropped, sum(event.count for event in recorded) - dropped)
""")

    assert printed == "<EventManager: 1 listener>\nTrue\n0 0\n"


@pytest.mark.parametrize("policy", POLICIES)
def test_child_forked_at_any_moment_can_use_streams(untraced_child: Callable[[str], str], policy: str) -> None:
    printed = untraced_child(f"""
policy = {policy!r}
import asyncio, os, signal, sys, threading, warnings
from encore_events import *
from encore_events.errors import ForkedError
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
sys.setswitchinterval(1e-5)
manager = EventManager()
stream = manager.stream(BaseEvent, capacity=3, policy=policy)
done, running = threading.Event(), threading.Event()

def work():
    while not done.is_set():
        manager.emit(BaseEvent())

def read():
    for event in stream:
        pass

async def read_in_a_loop():
    running.set()  # asyncio holds a lock while it makes its first loop; a fork would copy it held
    async for event in stream:
        pass

def read_own(own):
    for event in own:
        pass

def use():
    for _ in range(10):
        manager.emit(BaseEvent())
    try:
        stream.get()
    except ForkedError:
        stream.close()
    with manager.stream(BaseEvent, policy=policy) as own:
        waiter = threading.Thread(target=read_own, args=(own,))
        waiter.start()
        manager.emit(BaseEvent())
    waiter.join()
    with manager.stream(BaseEvent) as own:
        manager.emit(BaseEvent())
        asyncio.run(asyncio.wait_for(anext(own), 5))
    return len(own) + len(stream)

threads = [threading.Thread(target=work) for _ in range(2)]
threads += [threading.Thread(target=read), threading.Thread(target=lambda: asyncio.run(read_in_a_loop()))]
for thread in threads: thread.start()
running.wait()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        os._exit(use())
    print(os.waitpid(pid, 0)[1])
done.set()
stream.close()
for thread in threads: thread.join()
""")

    assert printed.split() == ["0"] * 30


@pytest.mark.parametrize("policy", POLICIES)
def test_program_exits_while_a_stream_is_read(child: Callable[[str], str], policy: str) -> None:
    printed = child(f"""
import threading
from encore_events import *
manager = EventManager()
stream = manager.stream(BaseEvent, policy={policy!r}, capacity=1)
threading.Thread(target=lambda: list(stream), daemon=True).start()
manager.emit(BaseEvent())
print("end")
""")

    assert printed == "end\n"
