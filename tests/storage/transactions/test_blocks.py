"""A transaction block: begin, commit and roll back, and the events of each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreEvent,
    StoreModificationEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from encore_storage.stores import DictMemoryStore
from encore_storage.transactions.contexts import SimpleTransactionContext
from tests.storage.support import END, LONG, SET, START, Transactional, recorded_names, set_in_transaction
from tests.storage.transactions.support import INTERRUPTS, Fail, FalsyError, assert_usable


def test_failed_begin_emits_nothing_and_frees_the_store(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("begin", OSError("locked"))

    with pytest.raises(OSError, match="locked"):
        set_in_transaction(store, "a")

    assert recorder.events == []
    assert not store.exists("a")
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_interrupted_begin_emits_nothing_and_frees_the_store(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("begin", interrupt())

    with pytest.raises(interrupt):
        set_in_transaction(store, "a")

    assert recorder.events == []
    assert_usable(store, recorder)


def test_commit_emits_end_then_each_change_once_in_order(store: Transactional, recorder: EventRecorder) -> None:
    with store.transaction("import"):
        store.from_bytes("a", b"1")
        store.from_bytes("b", b"2")
        assert recorded_names(recorder) == [START]

    assert recorded_names(recorder) == [START, END, SET, SET]
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["a", "b"]
    assert store.exists("a")
    assert_usable(store, recorder)


def test_change_is_committed_before_its_event(
    store: Transactional, manager: EventManager, pool: ThreadPoolExecutor
) -> None:
    seen = []
    manager.connect(StoreSetEvent, lambda event: seen.append(pool.submit(store.exists, "a").result(LONG)))

    with store.transaction():
        store.from_bytes("a", b"1")

    assert seen == [True]


@pytest.mark.parametrize("error", [ValueError, FalsyError, *INTERRUPTS])
def test_failed_block_rolls_back(error: type[BaseException], store: Transactional, recorder: EventRecorder) -> None:
    raised = error()
    with pytest.raises(error) as caught, store.transaction("import"):
        store.from_bytes("a", b"1")
        raise raised

    assert caught.value is raised
    assert not store.exists("a")
    assert recorded_names(recorder) == [START, END]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error, end.held) == ("failed", "rolled_back", raised, 1)
    assert (end.commit_duration, end.notes) == (None, "import")
    assert_usable(store, recorder)


def test_start_and_end_events_describe_the_transaction(store: Transactional, recorder: EventRecorder) -> None:
    with store.transaction("import of March"):
        store.from_bytes("a", b"1")

    start, end = recorder.one(StoreTransactionStartEvent), recorder.one(StoreTransactionEndEvent)
    for event in (start, end):
        assert (event.source, event.store, event.notes) == (store, store.name, "import of March")
    assert start.transaction_id == end.transaction_id
    assert start.timestamp > 1e9
    assert (end.state, end.outcome, end.error, end.held) == ("done", "committed", None, 1)
    assert end.commit_duration is not None
    assert 0 <= end.commit_duration <= end.duration


def test_transaction_counts_its_operations(manager: EventManager, recorder: EventRecorder) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("before", b"1")
    with store.transaction() as transaction:
        store.from_bytes("a", b"1")
        store.exists("a")
        with store.transaction():
            store.to_bytes("a")
            store.delete("a")
        assert isinstance(transaction, SimpleTransactionContext)
        assert transaction.operations == 4
    store.exists("after")

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.operations, end.held) == (4, 2)


def test_changes_in_transaction_carry_its_id(manager: EventManager, recorder: EventRecorder) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("before", b"1")
    with store.transaction():
        store.from_bytes("inside", b"1")
    store.from_bytes("after", b"1")

    identity = recorder.one(StoreTransactionEndEvent).transaction_id
    by_key = {event.key: event.transaction_id for event in recorder.of(StoreModificationEvent)}
    assert by_key == {"before": None, "inside": identity, "after": None}


def test_transactions_have_different_ids(store: Transactional, recorder: EventRecorder) -> None:
    for _ in range(2):
        with store.transaction():
            pass

    assert len({event.transaction_id for event in recorder.of(StoreTransactionEvent)}) == 2


def test_events_of_other_stores_and_classes_are_not_held(
    store: Transactional, manager: EventManager, recorder: EventRecorder
) -> None:
    other = DictMemoryStore(name="other", event_manager=manager)
    with store.transaction():
        other.from_bytes("a", b"1")
        manager.emit(StoreEvent(store, store=store.name))

        assert recorder.one(StoreSetEvent).source is other
        assert "StoreEvent" in recorder.names()


def test_transactions_of_two_stores_are_independent(manager: EventManager, recorder: EventRecorder) -> None:
    first, second = (DictMemoryStore(name=name, event_manager=manager) for name in ("first", "second"))
    with pytest.raises(OSError, match="disk full"), first.transaction():
        first.from_bytes("a", b"1")
        with second.transaction():
            second.from_bytes("b", b"2")
        raise OSError("disk full")

    outcomes = {event.store: event.outcome for event in recorder.of(StoreTransactionEndEvent)}
    assert outcomes == {"first": "rolled_back", "second": "committed"}
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["b"]


def test_transaction_without_listeners_commits_and_rolls_back(store: Transactional) -> None:
    with store.transaction():
        store.from_bytes("a", b"1")
    with suppress(OSError), store.transaction():
        store.from_bytes("b", b"1")
        raise OSError("disk full")

    assert store.exists("a")
    assert not store.exists("b")
