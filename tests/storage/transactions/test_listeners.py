"""Listeners of transaction events that use the store, fail or are interrupted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreSetEvent, StoreTransactionEndEvent, StoreTransactionStartEvent
from encore_storage.stores import DictMemoryStore
from tests.storage.support import END, LONG, SET, START, Transactional, recorded_names, set_in_transaction
from tests.storage.transactions.support import assert_usable, outcome


@pytest.mark.parametrize("error", [None, OSError("disk full")], ids=["committed", "rolled_back"])
def test_listener_of_end_may_use_the_store(
    error: OSError | None,
    store: Transactional,
    manager: EventManager,
    recorder: EventRecorder,
    pool: ThreadPoolExecutor,
) -> None:
    def note(event: BaseEvent) -> None:
        subscription.disconnect()
        store.from_bytes("noted here", b"1")
        pool.submit(store.from_bytes, "noted there", b"1").result(LONG)
        with store.transaction("listener"):
            store.from_bytes("noted in a transaction", b"1")

    subscription = manager.connect(StoreTransactionEndEvent, note)
    with suppress(OSError), store.transaction():
        store.from_bytes("a", b"1")
        if error is not None:
            raise error

    keys = [event.key for event in recorder.of(StoreSetEvent)]
    noted = ["noted here", "noted in a transaction", "noted there"]
    assert sorted(filter(None, keys)) == ([] if error else ["a"]) + noted
    assert_usable(store, recorder)


@pytest.mark.parametrize("cls", [StoreTransactionStartEvent, StoreTransactionEndEvent, StoreSetEvent])
def test_failing_listener_does_not_affect_transaction(
    cls: type[BaseEvent], store: Transactional, manager: EventManager, recorder: EventRecorder
) -> None:
    with manager.connect(cls, lambda event: 1 / 0), store.transaction():
        store.from_bytes("a", b"1")

    assert store.exists("a")
    assert recorded_names(recorder) == [START, END, SET]
    assert_usable(store, recorder)


def test_strict_manager_rolls_back_when_start_listener_fails(recorder: EventRecorder) -> None:
    manager = EventManager(strict=True)
    store = DictMemoryStore(event_manager=manager)
    recorder = EventRecorder(manager)

    failing = manager.connect(StoreTransactionStartEvent, lambda event: 1 / 0)
    with pytest.raises(ExceptionGroup):
        set_in_transaction(store, "a")

    failing.disconnect()
    assert recorded_names(recorder) == [START, END]
    assert outcome(recorder) == "rolled_back"
    assert_usable(store, recorder)


def test_strict_manager_emits_changes_when_end_listener_fails() -> None:
    manager = EventManager(strict=True)
    store = DictMemoryStore(event_manager=manager)
    recorder = EventRecorder(manager)

    failing = manager.connect(StoreTransactionEndEvent, lambda event: 1 / 0)
    with pytest.raises(ExceptionGroup), store.transaction():
        store.from_bytes("a", b"1")

    failing.disconnect()
    assert store.exists("a")
    assert recorded_names(recorder) == [START, END, SET]
    assert_usable(store, recorder)


def test_interrupt_in_start_listener_rolls_back(store: Transactional, manager: EventManager) -> None:
    def interrupt(event: BaseEvent) -> None:
        raise KeyboardInterrupt

    recorder = EventRecorder(manager)
    with manager.connect(StoreTransactionStartEvent, interrupt), pytest.raises(KeyboardInterrupt):
        set_in_transaction(store, "a")

    assert outcome(recorder) == "rolled_back"
    assert_usable(store, recorder)
