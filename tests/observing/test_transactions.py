"""StoreObserver observes transactions, as blocks or not, in threads, tasks and forked children."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import weakref
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import ForkedStoreError, TransactionError
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.observing import ObservedTransaction, StoreObserver
from tests.observing.support import Client
from tests.storage.support import settled


def test_block_commits_its_operations_and_changes(client: Client, recorder: EventRecorder) -> None:
    with client.observer.transaction("nightly") as transaction:
        client.store("b", b"12")
        assert recorder.of(StoreModificationEvent) == []

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.outcome, end.operations, end.held, end.notes) == ("committed", 1, 1, "nightly")
    assert (end.store, end.source, transaction.outcome) == ("invoices", client, "committed")
    assert {event.transaction_id for event in recorder.of(StoreProgressEvent)} == {transaction.transaction_id}
    assert recorder.one(StoreSetEvent).transaction_id == transaction.transaction_id
    assert recorder.names()[-2:] == ["StoreTransactionEndEvent", "StoreSetEvent"]


def test_exception_rolls_back_and_discards_changes(client: Client, recorder: EventRecorder) -> None:
    error = OSError("disk")
    with pytest.raises(OSError, match="disk"), client.observer.transaction():
        client.store("b", b"12")
        raise error

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.outcome, end.error, end.held) == ("rolled_back", error, 1)
    assert recorder.of(StoreModificationEvent) == []


def test_closed_transaction_is_done_and_discards_changes(observer: StoreObserver, recorder: EventRecorder) -> None:
    transaction = observer.transaction("reading")
    transaction.start()
    observer.changed("set", "b", transaction=transaction)
    transaction.end("closed")

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error, transaction.outcome) == ("done", "closed", None, "closed")
    assert recorder.of(StoreModificationEvent) == []


def test_several_transactions_are_open_at_once(observer: StoreObserver, recorder: EventRecorder) -> None:
    first, second = observer.transaction("1"), observer.transaction("2")
    first.start()
    second.start()
    with observer.operation("set", "a", transaction=first):
        pass
    observer.changed("set", "b", transaction=second)
    first.end("rolled_back", OSError("disk"))
    second.end(commit_duration=0.5)
    second.end()

    ends = recorder.of(StoreTransactionEndEvent)
    assert [(end.notes, end.outcome, end.operations) for end in ends] == [
        ("1", "rolled_back", 1),
        ("2", "committed", 0),
    ]
    assert ends[1].commit_duration == 0.5
    assert recorder.one(StoreProgressEndEvent).transaction_id == first.transaction_id
    assert recorder.one(StoreSetEvent).transaction_id == second.transaction_id


def test_each_task_has_its_own_transaction(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def work(name: str) -> None:
        async with observer.transaction(name):
            await asyncio.sleep(0)
            async with observer.operation("set", name):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(str(number)) for number in range(10)))

    asyncio.run(main())
    notes = {event.transaction_id: event.notes for event in recorder.of(StoreTransactionStartEvent)}
    ends = recorder.of(StoreProgressEndEvent)
    assert len(notes) == len(ends) == 10
    assert all(notes[end.transaction_id or ""] == end.key for end in ends)


def test_transaction_of_another_observer_is_not_joined(
    observer: StoreObserver, manager: EventManager, recorder: EventRecorder
) -> None:
    other = StoreObserver("other", event_manager=manager)
    with observer.transaction(), other.operation("get", "a"):
        pass

    assert recorder.one(StoreProgressEndEvent).transaction_id is None


def test_nested_transactions_are_separate(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.transaction("outer"):
        with observer.transaction("inner") as inner, observer.operation("set", "a"):
            pass
        with observer.operation("set", "b"):
            pass

    assert [end.notes for end in recorder.of(StoreTransactionEndEvent)] == ["inner", "outer"]
    assert [end.operations for end in recorder.of(StoreTransactionEndEvent)] == [1, 1]
    assert inner.operations == 1


def test_abandoned_transaction_is_rolled_back(observer: StoreObserver, recorder: EventRecorder) -> None:
    observer.transaction("lost").start()
    settled()

    assert recorder.one(StoreTransactionEndEvent).outcome == "rolled_back"


def test_second_start_is_refused(observer: StoreObserver) -> None:
    with observer.transaction("nightly") as transaction, pytest.raises(TransactionError, match="another one"):
        transaction.start()

    assert repr(transaction) == "<ObservedTransaction of 'invoices': 'nightly', committed>"


def test_start_that_a_strict_manager_raises_from_is_rolled_back() -> None:
    manager = EventManager(strict=True)
    observer = StoreObserver("invoices", event_manager=manager)
    recorder = EventRecorder(manager)
    manager.connect(StoreTransactionStartEvent, lambda event: 1 / 0)
    with pytest.raises(ExceptionGroup), observer.transaction():
        pass
    with observer.operation("get", "a"):
        pass

    assert recorder.one(StoreTransactionEndEvent).outcome == "rolled_back"
    assert recorder.one(StoreProgressEndEvent).transaction_id is None


def test_forked_child_is_not_in_the_transaction(observer: StoreObserver) -> None:
    with observer.transaction("nightly") as transaction:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe()
        child = context.Process(target=_use_inherited, args=(observer, transaction, sender))
        child.start()
        assert receiver.recv() == ("ForkedStoreError", False, None)
        child.join()

    assert transaction.outcome == "committed"


def _use_inherited(observer: StoreObserver, transaction: ObservedTransaction, sender: Any) -> None:
    """Use a transaction of the parent in the child, and send the results."""
    recorder = EventRecorder(observer.event_manager)
    with observer.operation("get", "a"):
        pass
    transaction_id = recorder.one(StoreProgressEndEvent).transaction_id
    try:
        transaction.end()
    except ForkedStoreError as error:
        sender.send((type(error).__name__, transaction.is_open, transaction_id))


def test_end_before_start_is_refused(observer: StoreObserver, recorder: EventRecorder) -> None:
    with pytest.raises(TransactionError, match="has not started: start it first"):
        observer.transaction("nightly").end()

    assert recorder.events == []


def test_unknown_outcome_is_refused(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.transaction() as transaction, pytest.raises(ValueError, match=r"must be one of .*, not 'done'"):
        transaction.end("done")  # type: ignore[arg-type]  # that is the mistake

    assert recorder.one(StoreTransactionEndEvent).outcome == "committed"


def test_transactions_left_out_of_order_are_not_kept(observer: StoreObserver) -> None:
    references = []
    for _ in range(3):
        first, second = observer.transaction(), observer.transaction()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        references.append(weakref.ref(first))
    del first, second
    gc.collect()

    assert [reference() is None for reference in references[:-1]] == [True, True]


def test_transaction_made_before_a_fork_starts_in_the_child(observer: StoreObserver) -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    child = context.Process(target=_run_inherited, args=(observer.transaction("nightly"), sender))
    child.start()
    assert receiver.recv() == "committed"
    child.join()


def _run_inherited(transaction: ObservedTransaction, sender: Any) -> None:
    """Run a transaction that the parent has made, but not started; send its outcome."""
    try:
        with transaction:
            pass
    finally:
        sender.send(transaction.outcome)


def test_change_of_a_transaction_that_has_ended_is_emitted_at_once(
    observer: StoreObserver, recorder: EventRecorder
) -> None:
    transaction = observer.transaction()
    transaction.start()
    transaction.end()
    observer.changed("set", "late", transaction=transaction)

    assert recorder.one(StoreSetEvent).key == "late"


def test_change_of_a_transaction_that_was_rolled_back_is_discarded(
    observer: StoreObserver, recorder: EventRecorder
) -> None:
    transaction = observer.transaction()
    transaction.start()
    transaction.end("rolled_back")
    observer.changed("set", "late", transaction=transaction)

    assert recorder.of(StoreSetEvent) == []


def test_change_of_a_transaction_that_has_not_started_is_refused(
    observer: StoreObserver, recorder: EventRecorder
) -> None:
    with pytest.raises(TransactionError, match="start it first"):
        observer.changed("set", "early", transaction=observer.transaction())


def test_savepoint_has_the_id_of_its_outer_transaction(observer: StoreObserver, recorder: EventRecorder) -> None:
    with (
        observer.transaction() as outer,
        observer.transaction(parent_id=outer.transaction_id) as savepoint,
    ):
        pass

    starts, ends = recorder.of(StoreTransactionStartEvent), recorder.of(StoreTransactionEndEvent)
    assert [start.parent_id for start in starts] == [None, outer.transaction_id]
    assert [(end.transaction_id, end.parent_id) for end in ends] == [
        (savepoint.transaction_id, outer.transaction_id),
        (outer.transaction_id, None),
    ]
