"""The policy 'block', with which emitters wait for a free place."""

import asyncio
import threading
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, EventStream
from encore_events.gates import Gates, ThreadGate, open_one
from tests.events.stepping import begin, end, run_in_thread


class Opened(BaseEvent):
    number: int


def emit_some(manager: EventManager, *some: int) -> None:
    for number in some:
        manager.emit(Opened(number=number))


def numbers(events: Any) -> list[int]:
    return [event.number for event in events]


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Return a semaphore that is released each time a thread begins to wait at a gate."""
    begun = threading.Semaphore(0)

    class SignallingGate(ThreadGate):
        def wait(self, timeout: float = float("inf")) -> None:
            begun.release()
            super().wait(timeout)

    monkeypatch.setattr("encore_events.buffer.ThreadGate", SignallingGate)
    return begun


def test_emitter_waits_for_a_free_place(manager: EventManager, blocked: threading.Semaphore) -> None:
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


def test_close_unblocks_every_emitter(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)
    run_in_thread(lambda: emit_some(manager, 0))
    emitters = [begin(lambda: emit_some(manager, 1)) for _ in range(3)]
    for _ in emitters:
        assert blocked.acquire(timeout=20)

    stream.close()
    for emitter in emitters:
        end(emitter)

    assert numbers(stream) == [0]
    assert len(received) == 4


def test_collected_stream_unblocks_its_emitter(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    emitter = begin(lambda: emit_some(manager, 1, 2, 3))
    assert blocked.acquire(timeout=20)

    del stream
    end(emitter)

    assert repr(manager) == "<EventManager: 0 listeners>"


def test_blocked_emitter_blocks_no_other_listener(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    emitter = begin(lambda: emit_some(manager, 1, 2))
    assert blocked.acquire(timeout=20)

    with manager.stream(BaseEvent) as other:
        manager.emit(BaseEvent(number=3))
    assert numbers(other) == [3]

    stream.close()
    end(emitter)


def test_reading_thread_does_not_wait_for_itself(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    run_in_thread(lambda: emit_some(manager, 0))
    got = []

    for event in stream:
        got.append(event)
        if len(got) == 3:
            break
        emit_some(manager, len(got), 10 + len(got))

    assert numbers(got) == [0, 1, 11]
    assert len(stream) == 2


def test_maker_of_the_stream_does_not_wait_before_the_first_read(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")

    emit_some(manager, 1, 2, 3)

    assert len(stream) == 3


def test_maker_of_the_stream_waits_once_another_thread_reads(
    manager: EventManager, blocked: threading.Semaphore
) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    run_in_thread(lambda: stream.wait(0))
    emit_some(manager, 1)

    def make_place() -> None:
        assert blocked.acquire(timeout=20)
        stream._buffer.take()

    reader = begin(make_place)
    emit_some(manager, 2)
    end(reader)

    assert numbers(event for _, event in stream.drain()) == [2]


def test_new_thread_does_not_inherit_the_reader_role(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    run_in_thread(lambda: stream.wait(0))

    emitter = begin(lambda: emit_some(manager, 1, 2))  # usually gets the ident of the ended thread
    assert blocked.acquire(timeout=20)
    stream.close()
    end(emitter)

    assert numbers(stream) == [1]


def test_reading_loop_does_not_wait_for_itself(manager: EventManager) -> None:
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


def test_interrupted_emitter_leaves_the_stream_usable(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
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
        run_in_thread(emit)
    emitter = begin(lambda: emit_some(manager, 3))
    got = [stream.get(), stream.get()]
    end(emitter)

    assert numbers(got) == [1, 3]
    assert interrupted == ["yes"]


def test_all_blocked_emitters_get_their_turn(manager: EventManager) -> None:
    stream = manager.stream(Opened, capacity=2, policy="block")

    def emitter(first: int) -> threading.Thread:
        return begin(lambda: emit_some(manager, *range(first, first + 100)))

    emitters = [emitter(first) for first in range(0, 1000, 100)]
    got = [stream.get(20) for _ in range(1000)]
    for one in emitters:
        end(one)

    assert sorted(numbers(got)) == list(range(1000))
    assert stream.get(0) is None


def test_worker_waits_for_a_free_place(manager: EventManager, blocked: threading.Semaphore) -> None:
    stream = manager.stream(Opened, capacity=1, policy="block")
    for number in range(3):
        manager.emit(Opened(number=number), block=False)
    assert blocked.acquire(timeout=20)

    got = [stream.get(20) for _ in range(3)]

    assert numbers(got) == [0, 1, 2]


def test_open_one_skips_gates_already_open() -> None:
    first, second, third = ThreadGate(), ThreadGate(), ThreadGate()
    gates: Gates = dict.fromkeys([first, second, third])
    first.open()

    open_one(gates)

    assert gates == {third: None}
    assert [gate.open() for gate in (second, third)] == [False, True]
