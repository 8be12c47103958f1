"""Ends of operations and transactions whose class is disabled: nothing stays in progress."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from encore_events import BaseEvent, EventManager, ProgressEndEvent, ProgressManager
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.events import StoreEvent, StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.observing import StoreProgressManager
from encore_storage.server import EventFeed
from encore_storage.subscribers import MetricsSubscriber, ProgressBars
from tests.subscribers.support import end, samples, start


@pytest.mark.parametrize("disabled", [BaseEvent, StoreEvent, ProgressEndEvent, StoreProgressEndEvent])
def test_operation_that_ends_unheard_is_not_in_progress(
    manager: EventManager,
    registry: CollectorRegistry,
    metrics: MetricsSubscriber,
    feed: EventFeed,
    store: DictMemoryStore,
    disabled: type[BaseEvent],
) -> None:
    store.from_bytes("a", b"123456")
    recorder = EventRecorder(manager, disabled)
    stream = store.get_data("a")

    recorder.clear()
    with manager.disabled(disabled):
        stream.close()

    assert recorder.events == []
    assert not any(samples(registry, "operations_in_progress").values())
    assert feed.own.activity.in_flight((), 10)["in_flight_total"] == 0


def test_transaction_that_ends_unheard_is_not_in_progress(
    manager: EventManager,
    registry: CollectorRegistry,
    metrics: MetricsSubscriber,
    feed: EventFeed,
    store: DictMemoryStore,
) -> None:
    with store.transaction("import"):
        assert any(samples(registry, "transactions_in_progress").values())
        manager.disable(StoreEvent)

    assert not any(samples(registry, "transactions_in_progress").values())
    assert feed.own.activity.in_flight((), 10)["transactions_in_flight"] == []


@pytest.mark.usefixtures("every_step")
def test_operation_that_was_heard_of_by_a_step_is_not_in_progress(manager: EventManager, feed: EventFeed) -> None:
    with manager.disabled(StoreProgressStartEvent):
        progress = StoreProgressManager(manager, store="archive", operation="get", direction="read")
        progress.start()
    progress(1)
    assert feed.own.activity.in_flight((), 10)["in_flight_total"] == 1

    with manager.disabled(StoreProgressEndEvent):
        progress.end()

    assert feed.own.activity.in_flight((), 10)["in_flight_total"] == 0


@pytest.mark.parametrize("make", [ProgressManager, StoreProgressManager])
def test_bar_of_what_ends_unheard_disappears(manager: EventManager, make: Callable[..., ProgressManager]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with ProgressBars(console=console, delay=0).connect(manager) as bars:
        progress = make(manager, message="copying", steps=10, direction="read")
        progress.start()
        shown = Console(file=io.StringIO(), width=80)
        shown.print(bars.render())
        with manager.disabled(BaseEvent):
            progress.end()
        shown.print("then")
        shown.print(bars.render())

    before, after = shown.file.getvalue().split("then")  # type: ignore[attr-defined]  # a StringIO
    assert "copying" in before
    assert "copying" not in after


@pytest.mark.parametrize("way", ["block", "worker", "coroutine", "hold"])
def test_unheard_end_is_passed_on_however_it_is_emitted(way: str, strict_manager: EventManager) -> None:
    registry = CollectorRegistry()
    with MetricsSubscriber(registry=registry).connect(strict_manager):
        strict_manager.emit(start())
        with strict_manager.disabled(StoreEvent):
            if way == "block":
                strict_manager.emit(end())
            elif way == "worker":
                handle = strict_manager.emit(end(), block=False)
                assert handle is not None
                assert handle.join(10)
            elif way == "coroutine":
                asyncio.run(strict_manager.emit_async(end()))
            else:
                with strict_manager.hold(StoreEvent) as held:
                    strict_manager.emit(end())
                    held.release()

        assert not any(samples(registry, "operations_in_progress").values())


@pytest.fixture
def strict_manager() -> EventManager:
    return EventManager(strict=True)


def test_nothing_is_passed_on_after_disconnecting(manager: EventManager) -> None:
    unheard = list[BaseEvent]()
    stop = manager.connect_unheard(StoreEvent, unheard.append)
    manager.emit(end())
    manager.disable(StoreEvent)
    manager.emit(end())
    stop()
    manager.emit(end())

    assert len(unheard) == 1


def test_age_survives_a_clock_that_is_set_back(manager: EventManager) -> None:
    now = time.time()
    feed = EventFeed(clock=lambda: now)
    with feed.connect(manager):
        manager.emit(start(timestamp=now - 60))
        now -= 3600

        (operation,) = feed.view().current((), 10)["in_flight"]

    assert operation["age"] >= 60
