"""The record of one connection, by itself."""

from collections.abc import Callable

from encore_events import BaseEvent
from encore_events.listeners import Listener


class Box:
    def __init__(self) -> None:
        self.heard: list[BaseEvent] = []

    def hear(self, event: BaseEvent) -> None:
        self.heard.append(event)


def recorded(func: Callable[..., object], collected: Callable[[Listener], None]) -> Listener:
    return Listener(BaseEvent, func, filter=None, where=None, priority=2, weak=None, sequence=0, collected=collected)


def test_a_record_is_a_receiver_that_can_be_called() -> None:
    box = Box()
    record = recorded(box.hear, print)

    record(BaseEvent())

    assert len(box.heard) == 1
    assert repr(record) == f"<Listener: {box.hear!r} to BaseEvent, priority 2>"


def test_a_record_tells_of_the_death_of_what_it_holds_weakly() -> None:
    told: list[Listener] = []
    box = Box()
    record = recorded(box.hear, told.append)

    del box

    assert told == [record]
    assert record.func is None


def test_a_record_that_is_gone_itself_tells_nothing() -> None:
    told: list[Listener] = []
    box = Box()
    call = recorded(box.hear, told.append).call

    del box

    assert told == []
    assert call(BaseEvent()) is None
