"""Keyboard interrupts of readers and emitters."""

import gc
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, EventStream
from encore_events.gates import Gates, ThreadGate, open_all
from tests.events.stepping import begin, end, run_in_thread


class Opened(BaseEvent):
    number: int


@pytest.fixture(autouse=True)
def _no_other_stream_is_collected_meanwhile() -> Iterator[None]:
    gc.collect()  # or an older stream might be closed where the interrupt is meant for this one
    gc.disable()
    yield
    gc.enable()


def numbers(events: Iterable[Any]) -> list[int]:
    return [event.number for event in events]


def emit_some(manager: EventManager, *some: int) -> None:
    for number in some:
        manager.emit(Opened(number=number))


@pytest.mark.parametrize("read", [EventStream[Any].get, EventStream[Any].wait, lambda stream: next(iter(stream))])
def test_interrupted_reader_leaves_the_stream_usable(
    manager: EventManager, read: Callable[[EventStream[Any]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = manager.stream(Opened)

    def interrupt(gate: object, timeout: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("encore_events.gates.ThreadGate.wait", interrupt)
        read(stream)

    run_in_thread(lambda: emit_some(manager, 1))
    stream.close()
    assert numbers(stream) == [1]


def test_interrupted_emitter_wakes_the_reader(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = manager.stream(Opened)
    begun = threading.Event()

    class SignallingGate(ThreadGate):
        def wait(self, timeout: float = math.inf) -> None:
            begun.set()
            super().wait(timeout)

    def interrupt(gates: Gates) -> None:
        monkeypatch.setattr("encore_events.buffer.open_all", open_all)
        raise KeyboardInterrupt

    monkeypatch.setattr("encore_events.buffer.ThreadGate", SignallingGate)
    got: list[BaseEvent | None] = []
    reader = begin(lambda: got.append(stream.get()))
    assert begun.wait(20)
    monkeypatch.setattr("encore_events.buffer.open_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        emit_some(manager, 1)
    end(reader)

    assert numbers(got) == [1]
