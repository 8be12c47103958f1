"""Emitters and readers of one stream, with thread switches at random steps."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import pytest

from encore_events import BaseEvent, EventManager, EventsDroppedEvent, EventStream
from encore_events.testing import EventRecorder
from tests.events.stepping import Schedule

pytestmark = pytest.mark.usefixtures("stepped")

Dropping = Literal["drop_oldest", "drop_newest"]
SCHEDULES = 500


class Opened(BaseEvent):
    emitter: int
    number: int


class Scenario:
    """One stream with emitters and readers that make random calls, determined by the seed."""

    def __init__(self, seed: int, policy: Dropping, *, emitters: int, readers: int) -> None:
        self.dice = random.Random(seed)
        self.manager = EventManager()
        self.recorder = EventRecorder(self.manager, EventsDroppedEvent)
        capacity = self.dice.randint(1, 4)
        self.stream: EventStream[Any] = self.manager.stream(Opened, capacity=capacity, policy=policy)
        self.most = capacity + emitters + readers
        self.emitted = Counter[int]()
        self.read: list[list[Any]] = [[] for _ in range(readers)]
        self.emit(0, self.dice.randint(0, 6))
        jobs = [*self._emitting(emitters), *self._reading()]
        Schedule(self.dice, jobs).run()
        self.stream.close()
        self.rest = list(self.stream)

    def emit(self, emitter: int, how_many: int) -> None:
        for _ in range(how_many):
            self.manager.emit(Opened(emitter=emitter, number=self.emitted[emitter]))
            self.emitted[emitter] += 1

    def all_read(self) -> list[Any]:
        return [event for read in (*self.read, self.rest) for event in read]

    def _emitting(self, emitters: int) -> Iterator[Callable[[], None]]:
        for emitter in range(emitters):
            yield partial(self.emit, emitter, self.dice.randint(1, 6))

    def _reading(self) -> Iterator[Callable[[], None]]:
        for into in self.read:
            calls = self.dice.choices((self._get, self._drain, self._measure), (4, 2, 1), k=self.dice.randint(1, 6))
            yield partial(self._call_all, calls, into)

    def _call_all(self, calls: Sequence[Callable[[list[Any]], None]], into: list[Any]) -> None:
        for call in calls:
            call(into)

    def _get(self, into: list[Any]) -> None:
        into += [event for event in (self.stream.get(0),) if event is not None]

    def _drain(self, into: list[Any]) -> None:
        into += [event for _, event in self.stream.drain()]

    def _measure(self, _into: list[Any]) -> None:
        assert 0 <= len(self.stream) <= self.most


def opened(events: list[Any]) -> list[Opened]:
    return [event for event in events if isinstance(event, Opened)]


def missing(events: list[Any]) -> int:
    return sum(event.count for event in events if isinstance(event, EventsDroppedEvent))


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize(("emitters", "readers"), [(1, 2), (2, 3)])
def test_random_schedule_yields_each_event_once_in_order_or_counts_it(
    policy: Dropping, emitters: int, readers: int
) -> None:
    for seed in range(SCHEDULES):
        scenario = Scenario(seed, policy, emitters=emitters, readers=readers)

        counts = Counter((event.emitter, event.number) for event in opened(scenario.all_read()))
        assert max(counts.values()) == 1, f"schedule {seed}"
        assert len(counts) + scenario.stream.dropped == scenario.emitted.total(), f"schedule {seed}"
        assert missing(scenario.all_read()) == missing(scenario.recorder.events) == scenario.stream.dropped, (
            f"schedule {seed}"
        )
        for read in (*scenario.read, scenario.rest):
            for emitter in range(emitters):
                numbers = [event.number for event in opened(read) if event.emitter == emitter]
                assert numbers == sorted(numbers), f"schedule {seed}"


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_random_schedule_reports_drops_in_their_place(policy: Dropping) -> None:
    for seed in range(SCHEDULES):
        scenario = Scenario(seed, policy, emitters=1, readers=1)

        expected = 0
        for event in scenario.all_read():
            if isinstance(event, EventsDroppedEvent):
                expected += event.count
            else:
                assert event.number == expected, f"schedule {seed}"
                expected += 1
        assert expected == scenario.emitted.total(), f"schedule {seed}"


def test_schedule_switches_threads_at_many_steps() -> None:
    turns: list[int] = []
    manager = EventManager()
    stream = manager.stream(BaseEvent, capacity=1)
    threads = [lambda: manager.emit(BaseEvent()), lambda: stream.get(0), lambda: stream.get(0)]

    Schedule(random.Random(5), threads, on_step=turns.append).run()

    assert set(turns) == {0, 1, 2}
    assert sum(one != other for one, other in itertools.pairwise(turns)) > 10
