"""The pump: batches, the end of the stream, interrupts and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import pytest

from encore_events import BaseEvent, EventManager
from encore_storage.processes import owned_thread
from encore_storage.subscribers.pump import Batch, Pump

AT_EXIT = """
from encore_events import BaseEvent, EventManager
from encore_storage.subscribers.pump import Pump

def consume(batch):
    for _, event in batch:
        print(event.number, flush=True)

manager = EventManager()
pump = Pump(manager.stream(BaseEvent), consume, interval=3600, name="pump")
pump.start()
for number in range(100):
    manager.emit(BaseEvent(number=number))
"""


class Consumer:
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[BaseEvent] = []
        self.batches = 0
        self.threads: set[str] = set()

    def __call__(self, batch: Batch) -> None:
        self.events.extend(event for _, event in batch)
        self.batches += 1
        self.threads.add(threading.current_thread().name)


def start_pump(manager: EventManager, consumer: Consumer, interval: float = 0.0) -> Pump:
    pump = Pump(manager.stream(BaseEvent), consumer, interval=interval, name="pump")
    pump.start()
    return pump


def test_events_are_consumed_in_order_in_the_pumps_thread(manager: EventManager) -> None:
    consumer = Consumer()
    pump = start_pump(manager, consumer)
    for number in range(1000):
        manager.emit(BaseEvent(number=number))
    pump.stop()

    assert [vars(event)["number"] for event in consumer.events] == list(range(1000))
    assert consumer.threads == {"pump"}


def test_stop_consumes_waiting_events_at_once(manager: EventManager) -> None:
    consumer = Consumer()
    pump = start_pump(manager, consumer, interval=3600)
    for number in range(10):
        manager.emit(BaseEvent(number=number))

    pump.stop()
    pump.stop()

    assert len(consumer.events) == 10
    assert consumer.batches <= 3
    assert repr(pump) == "<Pump of <EventStream of BaseEvent: 0 waiting, 0 dropped, closed>>"


def test_pump_ends_with_the_event_manager(manager: EventManager) -> None:
    consumer = Consumer()
    pump = start_pump(manager, consumer)
    manager.emit(BaseEvent(number=1))

    manager.close()
    pump.stop()

    assert len(consumer.events) == 1


def test_consumer_may_stop_the_pump(manager: EventManager) -> None:
    stopped = threading.Event()

    def consume(batch: Batch) -> None:
        pump.stop()
        stopped.set()

    pump = Pump(manager.stream(BaseEvent), consume, interval=0.0, name="pump")
    pump.start()
    manager.emit(BaseEvent())

    assert stopped.wait(30)
    pump.stop()


def test_interpreter_exit_waits_for_emitted_events() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(number) for number in range(100)]


def test_forked_child_consumes_no_events(manager: EventManager) -> None:
    consumer = Consumer()
    pump = start_pump(manager, consumer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is intended
        child = os.fork()
    if child == 0:
        manager.emit(BaseEvent(word="in the child"))
        pump.stop()
        os._exit(0 if not consumer.events and not manager.has_listeners(BaseEvent) else 1)

    _, status = os.waitpid(child, 0)
    manager.emit(BaseEvent(word="in the parent"))
    pump.stop()

    assert os.waitstatus_to_exitcode(status) == 0
    assert [vars(event)["word"] for event in consumer.events] == ["in the parent"]


def test_at_end_is_called_once_after_all_events(manager: EventManager) -> None:
    consumer, ends = Consumer(), list[tuple[int, str]]()
    pump = Pump(
        manager.stream(BaseEvent),
        consumer,
        interval=3600,
        name="pump",
        at_end=lambda: ends.append((len(consumer.events), threading.current_thread().name)),
    )
    pump.start()
    for number in range(10):
        manager.emit(BaseEvent(number=number))

    pump.stop()
    pump.stop()

    assert ends == [(10, "pump")]


def test_interrupted_start_leaves_at_end_to_the_thread(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
    may_continue, consumer, ends = threading.Event(), Consumer(), list[str]()
    start = threading.Thread.start

    def consume(batch: Batch) -> None:
        assert may_continue.wait(30)
        consumer(batch)

    def interrupted(thread: threading.Thread) -> None:
        manager.emit(BaseEvent())
        start(thread)
        raise KeyboardInterrupt

    stream = manager.stream(BaseEvent)
    pump = Pump(
        stream, consume, interval=3600, name="pump", at_end=lambda: ends.append(threading.current_thread().name)
    )
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pump.start()
    assert (ends, stream.closed) == ([], True)
    may_continue.set()
    pump.stop()

    assert (ends, len(consumer.events)) == (["pump"], 1)


def test_interrupted_stop_can_be_repeated(manager: EventManager) -> None:
    may_continue, consumer, ends = threading.Event(), Consumer(), list[int]()

    def consume(batch: Batch) -> None:
        assert may_continue.wait(30)
        consumer(batch)

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if not may_continue.is_set():
                raise KeyboardInterrupt
            return super().wait(timeout)

    pump = Pump(
        manager.stream(BaseEvent),
        consume,
        interval=3600,
        name="pump",
        at_end=lambda: ends.append(len(consumer.events)),
    )
    pump._thread._over = Interrupted()
    pump.start()
    manager.emit(BaseEvent())
    with pytest.raises(KeyboardInterrupt):
        pump.stop()
    assert ends == []
    may_continue.set()
    pump.stop()

    assert ends == [1]


def test_pump_can_be_stopped_before_start(manager: EventManager) -> None:
    ends = list[bool]()
    pump = Pump(manager.stream(BaseEvent), Consumer(), interval=0.0, name="pump", at_end=lambda: ends.append(True))

    pump.stop()
    pump.start()
    pump.stop()

    assert ends == [True]


def test_start_without_a_thread_leaves_nothing_behind(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ends = list[bool]()
    pump = Pump(manager.stream(BaseEvent), Consumer(), interval=0.0, name="pump", at_end=lambda: ends.append(True))
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            pump.start()

    assert not manager.has_listeners(BaseEvent)
    pump.stop()
    assert ends == [True]


def test_pump_goes_on_after_a_failed_batch(
    manager: EventManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owned_thread, "FAILED_SECONDS", 0.0)
    consumer, failed = Consumer(), threading.Event()

    def consume(batch: Batch) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("disk full")
        consumer(batch)

    pump = Pump(manager.stream(BaseEvent), consume, interval=0.0, name="pump")
    pump.start()
    manager.emit(BaseEvent())
    assert failed.wait(20)
    event = BaseEvent()
    manager.emit(event)
    pump.stop()

    assert consumer.events == [event]
    assert [record.message for record in caplog.records] == ["a round of the thread 'pump' failed; it goes on"]
