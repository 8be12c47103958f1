"""The policy 'block': an emitter waits for a place, unless it is the one who would have to make it."""

import asyncio
import threading
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, EventStream
from encore_events.gates import Gates, ThreadGate, open_one
from tests.events.stepping import begin, elsewhere, end


class Opened(BaseEvent):
    number: int


def emit_some(manager: EventManager, *some: int) -> None:
    for number in some:
        manager.emit(Opened(number=number))


def numbers(events: Any) -> list[int]:
    return [event.number for event in events]


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Let through once for each thread that begins to wait at a gate; nothing that comes from then on escapes it."""
    begun = threading.Semaphore(0)

    class Told(ThreadGate):
        def wait(self, timeout: float = float("inf")) -> None:
            begun.release()
            super().wait(timeout)

    monkeypatch.setattr("encore_events.buffer.ThreadGate", Told)
    return begun


def test_an_emitter_waits_for_a_place(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=2, policy="block")
    emitter = begin(lambda: emit_some(manager, *range(5)))
    got = []

    for _ in range(3):
        assert blocked.acquire(timeout=20)
        assert len(stream) == 2
        got.append(stream.get())
    end(emitter)
    stream.close()

    assert numbers(got) == [0, 1, 2]
    assert numbers(stream) == [3, 4]
    assert stream.dropped == 0


def test_closing_lets_every_blocked_emitter_go(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    heard: list[BaseEvent] = []
    manager.connect(Opened, heard.append)
    elsewhere(lambda: emit_some(manager, 0))
    emitters = [begin(lambda: emit_some(manager, 1)) for _ in range(3)]
    for _ in emitters:
        assert blocked.acquire(timeout=20)

    stream.close()
    for emitter in emitters:
        end(emitter)

    assert numbers(stream) == [0]
    assert len(heard) == 4


def test_a_stream_that_nobody_keeps_lets_a_blocked_emitter_go(
    manager: EventManager, blocked: threading.Semaphore
) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    emitter = begin(lambda: emit_some(manager, 1, 2, 3))
    assert blocked.acquire(timeout=20)

    del stream
    end(emitter)

    assert repr(manager) == "<EventManager: 0 listeners>"


def test_an_emitter_holds_up_nobody_else(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    emitter = begin(lambda: emit_some(manager, 1, 2))
    assert blocked.acquire(timeout=20)

    with manager.stream(BaseEvent) as other:
        manager.emit(BaseEvent(number=3))
    assert numbers(other) == [3]

    stream.close()
    end(emitter)


def test_the_thread_that_reads_does_not_wait_for_itself(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    elsewhere(lambda: emit_some(manager, 0))
    got = []

    for event in stream:
        got.append(event)
        if len(got) == 3:
            break
        emit_some(manager, len(got), 10 + len(got))

    assert numbers(got) == [0, 1, 11]
    assert len(stream) == 2


def test_whoever_made_the_stream_does_not_wait_before_anyone_reads(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")

    emit_some(manager, 1, 2, 3)

    assert len(stream) == 3


def test_once_another_thread_reads_whoever_made_the_stream_waits(
    manager: EventManager, blocked: threading.Semaphore
) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    elsewhere(lambda: stream.wait(0))
    emit_some(manager, 1)

    def make_place() -> None:
        assert blocked.acquire(timeout=20)
        stream._buffer.take()

    reader = begin(make_place)
    emit_some(manager, 2)
    end(reader)

    assert numbers(event for _, event in stream.drain()) == [2]


def test_a_thread_that_reads_no_more_has_no_heir(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    elsewhere(lambda: stream.wait(0))

    emitter = begin(lambda: emit_some(manager, 1, 2))  # most often with the ident of the thread that is gone
    assert blocked.acquire(timeout=20)
    stream.close()
    end(emitter)

    assert numbers(stream) == [1]


def test_a_loop_that_reads_does_not_wait_for_itself(manager: EventManager) -> None:
    async def run() -> list[BaseEvent]:
        stream = manager.stream(Opened, capacity=1, policy="block")
        reader = asyncio.create_task(collect(stream))
        emit_some(manager, 1, 2, 3)
        await asyncio.sleep(0)
        emit_some(manager, 4, 5, 6)
        stream.close()
        return await reader

    async def collect(stream: EventStream[Opened]) -> list[BaseEvent]:
        return [event async for event in stream]

    assert numbers(asyncio.run(run())) == [1, 2, 3, 4, 5, 6]


def test_an_interrupted_emitter_leaves_the_stream_usable(
    manager: EventManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    interrupted: list[str] = []

    def interrupt(gate: object) -> None:
        raise KeyboardInterrupt

    def emit() -> None:
        try:
            emit_some(manager, 1, 2)
        except KeyboardInterrupt:
            interrupted.append("yes")

    with monkeypatch.context() as patched:
        patched.setattr("encore_events.gates.ThreadGate.wait", interrupt)
        elsewhere(emit)
    emitter = begin(lambda: emit_some(manager, 3))
    got = [stream.get(), stream.get()]
    end(emitter)

    assert numbers(got) == [1, 3]
    assert interrupted == ["yes"]


def test_many_blocked_emitters_all_get_their_turn(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=2, policy="block")

    def emitter(first: int) -> threading.Thread:
        return begin(lambda: emit_some(manager, *range(first, first + 100)))

    emitters = [emitter(first) for first in range(0, 1000, 100)]
    got = [stream.get(20) for _ in range(1000)]
    for one in emitters:
        end(one)

    assert sorted(numbers(got)) == list(range(1000))
    assert stream.get(0) is None


def test_the_worker_waits_for_a_place_too(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    for number in range(3):
        manager.emit(Opened(number=number), block=False)
    assert blocked.acquire(timeout=20)

    got = [stream.get(20) for _ in range(3)]

    assert numbers(got) == [0, 1, 2]


def test_a_place_goes_to_one_who_is_not_on_its_way_already() -> None:
    first, second, third = ThreadGate(), ThreadGate(), ThreadGate()
    gates: Gates = dict.fromkeys([first, second, third])
    first.open()

    open_one(gates)

    assert gates == {third: None}
    assert [gate.open() for gate in (second, third)] == [False, True]
