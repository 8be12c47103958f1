"""The record of one connection."""

from collections.abc import Callable

from encore_events import BaseEvent
from encore_events.conditions import Condition
from encore_events.listeners import Listener


class Box:
    def __init__(self) -> None:
        self.received: list[BaseEvent] = []

    def receive(self, event: BaseEvent) -> None:
        self.received.append(event)


def recorded(func: Callable[..., object], collected: Callable[[Listener], None]) -> Listener:
    return Listener(BaseEvent, func, Condition(None, None), priority=2, collected=collected)


def test_listener_record_calls_the_function() -> None:
    box = Box()
    record = recorded(box.receive, print)

    record.call(BaseEvent())

    assert len(box.received) == 1
    assert repr(record) == f"<Listener: {box.receive!r} to BaseEvent, priority 2>"


def test_collected_callback_gets_the_record() -> None:
    collected_records: list[Listener] = []
    box = Box()
    record = recorded(box.receive, collected_records.append)

    del box

    assert collected_records == [record]
    assert record.func is None


def test_collected_record_calls_no_callback() -> None:
    collected_records: list[Listener] = []
    box = Box()
    call = recorded(box.receive, collected_records.append).call

    del box

    assert collected_records == []
    assert call(BaseEvent()) is None
