"""The signals of event classes, used as blinker's."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import blinker
import pytest

from encore_events import (
    BaseEvent,
    EventManager,
    EventSignal,
    InvalidListenerError,
    ListenerErrorEvent,
    ManagerClosedError,
    SignalError,
)


class Opened(BaseEvent):
    """An event."""


class Reopened(Opened):
    """An event of a subclass."""


class Store:
    """A source of events that compares by name, and can't be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str = "archive") -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.name == self.name


class Receiver:
    """A receiver that keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, BaseEvent]] = []

    def __call__(self, sender: Any, event: BaseEvent) -> None:
        self.calls.append((sender, event))

    def receive(self, sender: Any, **extra: Any) -> None:
        self.calls.append((sender, extra["event"]))


@pytest.fixture
def signal(manager: EventManager) -> EventSignal:
    return manager.signal(Opened)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def test_signal_is_a_blinker_signal_and_always_the_same(manager: EventManager, signal: EventSignal) -> None:
    assert isinstance(signal, blinker.Signal)
    assert manager.signal(Opened) is signal
    assert signal.cls is Opened
    assert repr(signal) == "<EventSignal of Opened: 0 listeners>"


def test_receiver_is_called_with_source_and_event(
    manager: EventManager, signal: EventSignal, receiver: Receiver
) -> None:
    assert signal.connect(receiver) is receiver
    store, events = Store(), [Opened(), Reopened()]
    for event in events:
        event.source = store
        manager.emit(event)

    assert receiver.calls == [(store, events[0]), (store, events[1])]
    assert repr(signal) == "<EventSignal of Opened: 1 listener>"


def test_receivers_is_the_one_registry(manager: EventManager, signal: EventSignal, receiver: Receiver) -> None:
    assert not signal.receivers
    subscription = manager.connect(Opened, print)
    signal.connect(receiver)

    assert len(signal.receivers) == 2
    assert manager.get_listeners(Opened) == [print, receiver]
    assert repr(manager) == "<EventManager: 2 listeners>"
    subscription.disconnect()
    signal.disconnect(receiver)
    assert not signal.receivers


def test_connections_by_signal_and_by_manager_are_distinct(manager: EventManager, signal: EventSignal) -> None:
    calls: list[tuple[Any, ...]] = []

    def listener(*args: Any, event: BaseEvent | None = None) -> None:
        calls.append((*args, event))

    manager.connect(Opened, listener)
    signal.connect(listener)
    event = Opened("archive")

    manager.emit(event)
    signal.disconnect(listener)
    manager.emit(event)
    manager.disconnect(Opened, listener)
    manager.emit(event)

    assert calls == [(event, None), ("archive", event), (event, None)]


def test_receivers_and_listeners_are_called_by_priority_and_order(manager: EventManager, signal: EventSignal) -> None:
    calls: list[str] = []
    receivers = [lambda _, event, name=name: calls.append(name) for name in ("first", "second")]
    signal.connect(receivers[0])
    manager.connect(Opened, lambda _: calls.append("listener"))
    signal.connect(receivers[1])
    manager.connect(Opened, lambda _: calls.append("urgent"), priority=1)

    manager.emit(Opened())
    signal.connect(receivers[0])  # again: it moves last
    manager.emit(Opened())

    assert calls == ["urgent", "first", "listener", "second", "urgent", "listener", "second", "first"]


def test_handled_event_reaches_no_later_receiver(
    manager: EventManager, signal: EventSignal, receiver: Receiver
) -> None:
    def veto(_: object, event: BaseEvent) -> None:
        event.mark_as_handled()

    signal.connect(veto)
    signal.connect(receiver)

    manager.emit(Opened())

    assert receiver.calls == []


def test_failing_receiver_is_reported_by_itself_and_isolated(
    manager: EventManager, signal: EventSignal, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object, event: BaseEvent) -> None:
        raise OSError("disk full")

    reports: list[ListenerErrorEvent] = []
    manager.connect(ListenerErrorEvent, reports.append)
    signal.connect(fail)
    signal.connect(receiver)

    manager.emit(Opened())

    assert len(receiver.calls) == 1
    assert [report.listener for report in reports] == [fail]
    assert "fail" in caplog.text


def test_failing_receiver_of_errors_does_not_hear_of_its_own(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[BaseEvent] = []

    def fail(_: object, event: BaseEvent) -> None:
        heard.append(event)
        raise OSError("disk full")

    manager.signal(BaseEvent).connect(fail)

    manager.emit(Opened())

    assert [type(event) for event in heard] == [Opened]
    assert caplog.text.count("OSError: disk full") == 1


def test_receiver_is_held_weakly_by_default(manager: EventManager, signal: EventSignal) -> None:
    receiver = Receiver()
    calls = receiver.calls
    signal.connect(receiver)
    signal.connect(receiver.receive)
    assert len(signal.receivers) == 2

    del receiver
    gc.collect()

    manager.emit(Opened())
    assert calls == []
    assert not signal.receivers


def test_disconnected_receiver_is_freed_at_once(signal: EventSignal) -> None:
    receiver = Receiver()
    gone = weakref.ref(receiver)
    signal.connect(receiver, weak=False)
    signal.disconnect(receiver)

    del receiver

    assert gone() is None


def test_receiver_can_be_held_strongly(manager: EventManager, signal: EventSignal) -> None:
    receiver = Receiver()
    calls = receiver.calls
    signal.connect(receiver.receive, weak=False)

    del receiver
    gc.collect()

    manager.emit(Opened())
    assert len(calls) == 1


@pytest.mark.parametrize(
    "make",
    [Store, object, lambda: "archive", lambda: 5, lambda: Receiver().receive],
    ids=["unhashable", "object", "str", "int", "method"],
)
def test_receiver_of_a_sender_gets_its_events_only(
    manager: EventManager, signal: EventSignal, receiver: Receiver, make: Callable[[], object]
) -> None:
    sender = make()
    signal.connect(receiver, sender=sender)
    event = Opened(sender)

    manager.emit(event)
    manager.emit(Opened(Store()))
    manager.emit(Opened())
    manager.emit(Opened(id(sender)))

    assert receiver.calls == [(sender, event)]


def test_string_senders_are_compared_by_value(manager: EventManager, signal: EventSignal, receiver: Receiver) -> None:
    signal.connect(receiver, sender="archive")

    manager.emit(Opened("archives"[:-1]))

    assert len(receiver.calls) == 1


def test_connect_via_connects_for_a_sender(manager: EventManager, signal: EventSignal) -> None:
    store, calls = Store(), []

    @signal.connect_via(store)
    def receive(sender: Store, event: BaseEvent) -> None:
        calls.append(sender)

    manager.emit(Opened(store))
    manager.emit(Opened(Store()))

    assert [id(sender) for sender in calls] == [id(store)]


def test_connected_to_connects_within_the_block(manager: EventManager, signal: EventSignal, receiver: Receiver) -> None:
    with signal.connected_to(receiver, sender="archive"):
        manager.emit(Opened("archive"))
        manager.emit(Opened("other"))
    manager.emit(Opened("archive"))

    assert len(receiver.calls) == 1
    assert not signal.receivers


def test_receiver_of_a_sender_and_of_all_is_called_once(
    manager: EventManager, signal: EventSignal, receiver: Receiver
) -> None:
    signal.connect(receiver, sender="archive")
    signal.connect(receiver)
    signal.connect(receiver, sender="other")

    manager.emit(Opened("archive"))
    assert len(receiver.calls) == 1

    signal.disconnect(receiver)
    manager.emit(Opened("archive"))
    assert len(receiver.calls) == 1
    assert not signal.receivers


def test_disconnect_of_one_sender_keeps_the_others(
    manager: EventManager, signal: EventSignal, receiver: Receiver
) -> None:
    for sender in ("archive", "other"):
        signal.connect(receiver, sender=sender)
    signal.disconnect(receiver, sender="archive")
    signal.disconnect(receiver, sender="unknown")
    signal.disconnect(print)

    for sender in ("archive", "other"):
        manager.emit(Opened(sender))

    assert [sender for sender, _ in receiver.calls] == ["other"]


def test_sender_is_held_weakly_and_takes_its_receivers_along(signal: EventSignal, receiver: Receiver) -> None:
    store = Store()
    gone = weakref.ref(store)
    signal.connect(receiver, sender=store)
    signal.connect(receiver, sender="archive")

    del store
    gc.collect()

    assert gone() is None
    assert len(signal.receivers) == 1


def test_has_receivers_for_and_receivers_for_follow_the_sender(
    manager: EventManager, signal: EventSignal, receiver: Receiver
) -> None:
    assert not signal.has_receivers_for("archive")
    signal.connect(receiver, sender="archive")

    assert signal.has_receivers_for("archive")
    assert not signal.has_receivers_for("other")
    assert list(signal.receivers_for("archive")) == [receiver]
    signal.connect(receiver)
    manager.connect(Opened, print, priority=1)
    assert list(signal.receivers_for("archive")) == [print, receiver]
    assert list(signal.receivers_for("other")) == [print, receiver]
    assert signal.has_receivers_for(blinker.ANY)


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda signal: signal.send("archive", event=Opened()), r"EventManager\.emit\(\)"),
        (lambda signal: asyncio.run(signal.send_async("archive")), r"EventManager\.emit_async\(\)"),
        (lambda signal: signal.muted(), r"EventManager\.disabled\(\)"),
    ],
)
def test_send_and_muted_refuse(signal: EventSignal, call: Callable[[EventSignal], object], advice: str) -> None:
    with pytest.raises(SignalError, match=rf"of the signal of Opened: .*{advice}"):
        call(signal)


def test_receiver_connected_and_receiver_disconnected_are_sent(signal: EventSignal, receiver: Receiver) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    connected = lambda _, **arguments: sent.append(("connected", arguments))  # noqa: E731 (held weakly)
    disconnected = lambda _, **arguments: sent.append(("disconnected", arguments))  # noqa: E731 (as above)
    signal.receiver_connected.connect(connected)
    signal.receiver_disconnected.connect(disconnected)

    signal.connect(receiver, sender="archive")
    signal.disconnect(receiver)

    assert sent == [
        ("connected", {"receiver": receiver, "sender": "archive", "weak": True}),
        ("disconnected", {"receiver": receiver, "sender": blinker.ANY}),
    ]


@pytest.mark.parametrize(
    "func", ["receiver", lambda event: None, lambda sender: None, len], ids=["text", "no sender", "no event", "len"]
)
def test_connect_refuses_what_cannot_be_a_receiver(signal: EventSignal, func: Any) -> None:
    with pytest.raises(InvalidListenerError, match=r"not callable|with the sender and event="):
        signal.connect(func)
    assert not signal.receivers


def test_method_of_a_builtin_object_must_be_held_strongly(manager: EventManager, signal: EventSignal) -> None:
    calls: dict[str, Any] = {}
    with pytest.raises(InvalidListenerError, match="weak=False"):
        signal.connect(calls.update)

    signal.connect(calls.update, weak=False)

    assert len(signal.receivers) == 1
    assert not manager.has_listeners(BaseEvent)


def test_connect_to_a_closed_manager_is_refused(manager: EventManager, signal: EventSignal, receiver: Receiver) -> None:
    signal.connect(receiver)
    manager.close()

    assert not signal.receivers
    with pytest.raises(ManagerClosedError):
        signal.connect(receiver)


def test_tracer_sees_and_vetoes_connect_and_disconnect(
    manager: EventManager, signal: EventSignal, receiver: Receiver
) -> None:
    seen: list[tuple[str, str, tuple[Any, ...]]] = []
    answers = [True, False, True, False]

    def trace(name: str, method: Any, args: tuple[Any, ...]) -> bool:
        seen.append((name, method.__self__.__class__.__name__, args))
        return answers[len(seen) - 1]

    manager.set_trace(trace)
    counts = []
    for call in (signal.connect, signal.connect, signal.disconnect, signal.disconnect):
        call(receiver)
        counts.append(len(signal.receivers))

    assert counts == [0, 1, 1, 0]
    assert seen[0] == ("connect", "EventSignal", (receiver, blinker.ANY, True))
    assert seen[3] == ("disconnect", "EventSignal", (receiver, blinker.ANY))


def test_coroutine_receivers_are_awaited(manager: EventManager, signal: EventSignal) -> None:
    calls: list[str] = []

    async def receive(sender: str, event: BaseEvent) -> None:
        await asyncio.sleep(0)
        calls.append(sender)

    async def emit() -> None:
        await manager.emit_async(Opened("awaited"))
        manager.emit(Opened("scheduled"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    signal.connect(receive)
    asyncio.run(emit())

    assert calls == ["awaited", "scheduled"]


def test_delivery_and_holds_reach_receivers(manager: EventManager, signal: EventSignal, receiver: Receiver) -> None:
    signal.connect(receiver)
    manager.deliver(Opened("delivered"))
    with manager.hold(Opened) as held:
        manager.emit(Opened("held"))
        held.release()

    assert [sender for sender, _ in receiver.calls] == ["delivered", "held"]


def test_clear_state_disconnects_all(manager: EventManager, signal: EventSignal, receiver: Receiver) -> None:
    signal.connect(receiver)
    manager.connect(Opened, print)

    signal._clear_state()

    assert not manager.has_listeners(Opened)


def test_senders_collected_in_other_threads_disturb_nobody(manager: EventManager, signal: EventSignal) -> None:
    receiver, failures, done = Receiver(), [], threading.Event()

    def emit() -> None:
        try:
            while not done.is_set():
                manager.emit(Opened("archive"))
                list(signal.receivers_for("archive"))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=emit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        signal.connect(receiver, sender=Store())  # it is collected at once
    done.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert not signal.receivers
    assert not any(signal._by_sender.values())
    assert not signal._weak_senders
