"""Calls between the steps of an emit, a read or a close: no lost wake-ups, no unreported drops."""

import asyncio
import contextlib
import itertools
import math
import threading
from collections.abc import Callable
from typing import Any, Literal, Self

import pytest

from encore_events import BaseEvent, EventManager, EventsDroppedEvent, EventStream
from encore_events.gates import LoopGate, ThreadGate
from encore_events.testing import EventRecorder
from tests.events import steps
from tests.events.stepping import Step, begin, end, run_in_thread, steps_of

pytestmark = pytest.mark.usefixtures("stepped")

Dropping = Literal["drop_oldest", "drop_newest"]
Policy = Literal["block", "drop_oldest", "drop_newest"]
POLICIES: tuple[Dropping, ...] = ("drop_oldest", "drop_newest")


class Opened(BaseEvent):
    number: int


def numbers_of(events: list[Any]) -> list[int]:
    return [event.number for event in events if isinstance(event, Opened)]


class Scene:
    """A stream with the events emitted and read."""

    def __init__(self, policy: Policy = "drop_oldest", *, capacity: int = 2) -> None:
        self.manager = EventManager()
        self.recorder = EventRecorder(self.manager, EventsDroppedEvent)
        self.stream: EventStream[Any] = self.manager.stream(Opened, capacity=capacity, policy=policy)
        self.number = itertools.count()
        self.read: list[Any] = []
        self.read_by_another: list[Any] = []
        self.others: list[threading.Thread] = []

    def filled(self, how_many: int) -> Self:
        for _ in range(how_many):
            self.emit()
        return self

    def emit(self) -> None:
        self.manager.emit(Opened(number=next(self.number)))

    def emit_three(self) -> None:
        self.filled(3)

    def close(self) -> None:
        self.stream.close()

    def another_gets_one(self) -> None:
        self.read_by_another.append(self.stream.get(0))

    def another_gets_two(self) -> None:
        self.another_gets_one()
        self.another_gets_one()

    def get(self, timeout: float | None = None) -> None:
        self.read += [event for event in (self.stream.get(timeout),) if event is not None]

    def get_in_a_loop(self) -> None:
        async def get() -> None:
            self.read.append(await anext(self.stream))

        asyncio.run(get())

    def get_unread(self) -> None:
        self.get(0)

    def wait(self) -> None:
        self.stream.wait()

    def drain(self) -> None:
        self.read += [event for _, event in self.stream.drain()]

    def numbers(self) -> list[int]:
        return numbers_of(self.read)

    def missing(self) -> int:
        return sum(event.count for event in self.read if isinstance(event, EventsDroppedEvent))

    def reported(self) -> int:
        return sum(event.count for event in self.recorder.of(EventsDroppedEvent))

    def finish(self) -> None:
        """Close, read the rest, and check that all drops were reported to reader and manager."""
        self.end_others()
        self.manager.close()
        self.read += self.stream
        assert self.missing() == self.stream.dropped
        assert self.reported() == self.stream.dropped

    def end_others(self) -> None:
        """Wait for the threads that interrupted a call."""
        for thread in self.others:
            end(thread)

    def is_in_place(self) -> bool:
        """Return whether the numbers rise by one except for drops reported in their place."""
        expected = 0
        for event in self.read:
            if isinstance(event, EventsDroppedEvent):
                expected += event.count
            elif event.number != expected:
                return False
            else:
                expected += 1
        return expected == next(self.number)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set when a thread or task begins to wait at a gate."""
    begun = threading.Event()

    class SignallingGate(ThreadGate):
        def wait(self, timeout: float = math.inf) -> None:
            begun.set()
            self._lock.acquire()

    class SignallingLoopGate(LoopGate):
        async def wait(self) -> None:
            begun.set()
            await self._opened

    monkeypatch.setattr("encore_events.buffer.ThreadGate", SignallingGate)
    monkeypatch.setattr("encore_events.buffer.LoopGate", SignallingLoopGate)
    return begun


def also(asleep: threading.Event, func: Callable[[Scene], object]) -> Callable[[Scene], None]:
    """Return a function that calls `func` in another thread until it waits for the stream's lock, or is done.

    After `func`, the thread sets `asleep`.
    """

    def interrupt(scene: Scene) -> None:
        may_go_on = threading.Event()

        def call() -> None:
            steps.here.at_lock = lambda: wait_for_lock(may_go_on)
            func(scene)
            asleep.set()
            may_go_on.set()

        scene.others.append(begin(call))
        assert may_go_on.wait(20)

    return interrupt


def wait_for_lock(may_go_on: threading.Event) -> None:
    may_go_on.set()
    steps.here.at_lock = None


@pytest.mark.parametrize("read", [Scene.get, Scene.get_in_a_loop, Scene.wait])
def test_reader_wakes_for_an_event_put_at_any_step(read: Callable[[Scene], None], asleep: threading.Event) -> None:
    for step in steps_of(also(asleep, Scene.emit), at_least=60):
        scene = Scene()
        asleep.clear()
        reader = begin(step.within, read, scene)
        assert asleep.wait(20)
        if not step.came:
            scene.emit()
        end(reader)
        scene.finish()
        assert scene.is_in_place()


@pytest.mark.parametrize("read", [Scene.get, Scene.wait])
def test_reader_wakes_for_a_close_at_any_step(read: Callable[[Scene], None], asleep: threading.Event) -> None:
    for step in steps_of(also(asleep, Scene.close), at_least=60):
        scene = Scene()
        asleep.clear()
        reader = begin(step.within, read, scene)
        assert asleep.wait(20)
        if not step.came:
            scene.close()
        end(reader)
        scene.end_others()
        assert scene.read == []


def emit_and_close(scene: Scene) -> None:
    scene.emit()
    scene.close()


@pytest.mark.parametrize("read", [Scene.get, Scene.get_in_a_loop])
def test_event_before_a_close_at_any_step_is_read(read: Callable[[Scene], None], asleep: threading.Event) -> None:
    for step in steps_of(also(asleep, emit_and_close), at_least=60):
        scene = Scene()
        asleep.clear()
        reader = begin(step.within, read, scene)
        assert asleep.wait(20)
        if not step.came:
            emit_and_close(scene)
        end(reader)
        scene.end_others()
        assert scene.numbers() == [0]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("filled", range(5))
@pytest.mark.parametrize("interrupt", [Scene.get_unread, Scene.drain])
def test_read_between_steps_of_emit_loses_no_event(
    policy: Dropping, filled: int, interrupt: Callable[[Scene], None]
) -> None:
    for step in steps_of(interrupt, at_least=20):
        scene = Scene(policy).filled(filled)
        step.within(Scene.emit, scene)
        scene.emit()
        scene.finish()
        assert scene.is_in_place()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("filled", range(5))
@pytest.mark.parametrize("read", [Scene.get_unread, Scene.drain])
@pytest.mark.parametrize("interrupt", [Scene.emit, Scene.emit_three])
def test_emit_between_steps_of_read_loses_no_event(
    policy: Dropping, filled: int, read: Callable[[Scene], None], interrupt: Callable[[Scene], None]
) -> None:
    for step in steps_of(interrupt, at_least=20):
        scene = Scene(policy).filled(filled)
        step.within(read, scene)
        scene.drain()
        assert scene.reported() == scene.stream.dropped
        scene.emit()
        scene.finish()
        assert scene.is_in_place()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("call", [Scene.get_unread, Scene.drain, Scene.emit, Scene.close])
@pytest.mark.parametrize("interrupt", [Scene.get_unread, Scene.drain, Scene.emit_three, Scene.close])
def test_concurrent_calls_lose_no_count(
    policy: Dropping, call: Callable[[Scene], None], interrupt: Callable[[Scene], None]
) -> None:
    for step in steps_of(interrupt, at_least=20):
        scene = Scene(policy).filled(4)
        step.within(call, scene)
        scene.finish()
        if Scene.close not in (call, interrupt):
            assert len(scene.numbers()) + scene.stream.dropped == next(scene.number)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("interrupt", [Scene.another_gets_one, Scene.another_gets_two])
def test_interleaved_readers_each_read_in_order(policy: Dropping, interrupt: Callable[[Scene], None]) -> None:
    for step in steps_of(interrupt, at_least=40):
        scene = Scene(policy, capacity=3).filled(4)
        scene.get()
        scene.get()
        scene.emit_three()
        step.within(Scene.drain, scene)
        scene.stream.close()
        scene.drain()
        for read in (scene.read, scene.read_by_another):
            numbers = numbers_of(read)
            assert numbers == sorted(numbers)
        assert len(numbers_of(scene.read + scene.read_by_another)) + scene.stream.dropped == next(scene.number)


def test_drop_oldest_never_drops_the_newest() -> None:
    for step in steps_of(Scene.get_unread, at_least=20):
        scene = Scene(capacity=1).filled(1)
        step.within(Scene.emit, scene)
        scene.finish()
        assert scene.numbers()[-1] == 1


def test_emitter_wakes_for_a_place_freed_at_any_step(asleep: threading.Event) -> None:
    for step in steps_of(also(asleep, Scene.get_unread), at_least=30):
        scene = Scene("block", capacity=1)
        run_in_thread(scene.emit)
        asleep.clear()
        emitter = begin(step.within, Scene.emit, scene)
        assert asleep.wait(20)
        if not step.came:
            scene.get()
        end(emitter)
        scene.finish()
        assert scene.is_in_place()


def test_emitter_wakes_for_a_close_at_any_step(asleep: threading.Event) -> None:
    for step in steps_of(also(asleep, Scene.close), at_least=30):
        scene = Scene("block", capacity=1)
        run_in_thread(scene.emit)
        asleep.clear()
        emitter = begin(step.within, Scene.emit, scene)
        assert asleep.wait(20)
        if not step.came:
            scene.close()
        end(emitter)
        scene.finish()
        assert scene.numbers()[0] == 0


def stop(_: Scene) -> None:
    raise KeyboardInterrupt


def interrupted(step: Step[Scene], call: Callable[[Scene], None], scene: Scene) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        step.within(call, scene)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("call", [Scene.get_unread, Scene.drain, Scene.emit, Scene.close])
def test_interrupt_at_any_step_leaves_the_stream_usable(policy: Dropping, call: Callable[[Scene], None]) -> None:
    for step in steps_of(stop, at_least=3, when="at signals"):
        scene = Scene(policy).filled(4)
        run_in_thread(interrupted, step, call, scene)

        scene.drain()
        scene.emit()
        assert scene.stream.closed or scene.stream.get(0) is not None
        scene.close()
        assert scene.stream.drain() == []
        assert not scene.stream.wait()


def test_emitter_interrupted_at_any_step_wakes_the_reader(asleep: threading.Event) -> None:
    for step in steps_of(stop, at_least=5, when="at signals"):
        scene = Scene()
        asleep.clear()
        reader = begin(scene.get)
        assert asleep.wait(20)

        run_in_thread(interrupted, step, Scene.emit, scene)
        if not len(scene.stream):
            scene.emit()  # in case the emitter was interrupted before it put the event
        end(reader)
        assert scene.numbers() in ([0], [1])


def test_emitter_interrupted_at_any_step_blocks_no_other_emitter(asleep: threading.Event) -> None:
    def interrupt(_: Scene) -> None:
        asleep.set()
        raise KeyboardInterrupt

    for step in steps_of(interrupt, at_least=10, when="at signals"):
        scene = Scene("block", capacity=1)
        run_in_thread(scene.emit)
        asleep.clear()
        emitters = [begin(interrupted, step, Scene.emit, scene)]
        assert asleep.wait(20)
        asleep.clear()
        emitters.append(begin(scene.emit))
        assert asleep.wait(20)
        scene.get()
        scene.get()
        for emitter in emitters:
            scene.get_unread()
            end(emitter)
        scene.finish()
        assert sorted(scene.numbers()) in ([0, 2], [0, 1, 2])
