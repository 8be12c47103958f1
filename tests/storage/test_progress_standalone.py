"""StoreProgressManager for work that belongs to no AbstractStore."""

from __future__ import annotations

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
)
from encore_storage.utils import SimpleTransactionContext, StoreProgressManager
from tests.storage.support import RecordingStore


def test_operation_of_another_store_has_its_name_and_transaction(
    manager: EventManager, recorder: EventRecorder
) -> None:
    store = RecordingStore(event_manager=manager)
    with SimpleTransactionContext(store) as transaction:
        with StoreProgressManager(manager, store, key="a") as progress:
            progress(step=3)
        manager.emit(StoreSetEvent(store, key="a"))

    start, end = recorder.one(StoreProgressStartEvent), recorder.one(StoreProgressEndEvent)
    assert start.store == end.store == recorder.one(StoreSetEvent).store == store.name
    assert start.transaction_id == end.transaction_id == transaction.transaction_id
    assert recorder.one(StoreTransactionEndEvent).operations == 1


def test_key_error_of_the_key_is_a_miss(manager: EventManager, recorder: EventRecorder) -> None:
    with pytest.raises(KeyError), StoreProgressManager(manager, key="a"):
        raise KeyError("a")
    with pytest.raises(KeyError), StoreProgressManager(manager, key="a"):
        raise KeyError("b")
    with pytest.raises(KeyError), StoreProgressManager(manager):
        raise KeyError("a")

    assert [end.outcome for end in recorder.of(StoreProgressEndEvent)] == ["miss", "error", "error"]


def test_events_of_an_operation_share_its_start_time(manager: EventManager, recorder: EventRecorder) -> None:
    with StoreProgressManager(manager) as progress:
        progress.min_interval = 0  # type: ignore[misc]  # of this one alone
        progress(step=1)
        progress(step=2)

    times = {event.timestamp for event in recorder.events}  # type: ignore[attr-defined]  # progress events have it
    assert len(times) == 1


def test_steps_continue_beyond_the_expected_total(manager: EventManager, recorder: EventRecorder) -> None:
    with StoreProgressManager(manager, steps=4) as progress:
        progress.min_interval = 0  # type: ignore[misc]  # of this one alone
        progress._due = 0
        for total in (1, 4, 8, 20):
            progress(step=total)

    assert [event.step for event in recorder.of(StoreProgressStepEvent)] == [1, 8, 20]
