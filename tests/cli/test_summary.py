"""SummarySubscriber: counts by operation and outcome."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from encore_events import BaseEvent, EventManager
from encore_storage.events import StoreProgressEvent, StoreTransactionEndEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers.summary import OperationSummary, SummarySubscriber
from tests.subscribers.support import BrokenSource, end


@pytest.fixture
def summary(manager: EventManager) -> Iterator[SummarySubscriber]:
    with SummarySubscriber().connect(manager) as summary:
        yield summary


def durations(*seconds: float) -> OperationSummary:
    """Return a row of operations with these durations."""
    row = OperationSummary("archive", "get")
    for one in seconds:
        row.add(end(duration=one))
    return row


def test_summary_starts_empty(summary: SummarySubscriber) -> None:
    assert summary.operations == []
    assert summary.errors == 0
    assert summary.transactions.total() == 0


def test_rows_are_sorted_by_store_and_operation(
    manager: EventManager, summary: SummarySubscriber, store: DictMemoryStore
) -> None:
    DictMemoryStore(name="another", event_manager=manager).from_bytes("a", b"12")
    store.from_bytes("a", b"123")
    store.from_bytes("b", b"4567")
    store.to_bytes("a")

    rows = [(row.store, row.operation, row.count, row.bytes) for row in summary.operations]
    assert rows == [("another", "set", 1, 2), ("archive", "get", 1, 3), ("archive", "set", 2, 7)]


def test_outcomes_are_counted_separately(summary: SummarySubscriber, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    with pytest.raises(OSError, match="bad sector"):
        store.set_data("a", BrokenSource(OSError("bad sector")))
    with pytest.raises(KeyError):
        store.get_data("missing")
    with pytest.raises(KeyboardInterrupt):
        store.set_data("a", BrokenSource(KeyboardInterrupt()))

    gets, sets = summary.operations
    assert gets.outcomes == {"miss": 1}
    assert sets.outcomes == {"ok": 1, "error": 1, "cancelled": 1}
    assert (gets.count, sets.count) == (1, 3)


def test_errors_count_only_the_error_outcome(manager: EventManager, summary: SummarySubscriber) -> None:
    for outcome in ("ok", "miss", "cancelled", "error"):
        manager.emit(end(outcome=outcome))
    manager.emit(end(outcome="error", operation="set"))

    assert summary.errors == 2


def test_bytes_include_failed_operations(manager: EventManager, summary: SummarySubscriber) -> None:
    manager.emit(end(bytes=10))
    manager.emit(end(bytes=5, outcome="error"))

    (row,) = summary.operations
    assert row.bytes == 15


def test_outcome_that_is_no_text_is_counted_as_other(manager: EventManager, summary: SummarySubscriber) -> None:
    manager.emit(end(outcome=["ok"]))

    (row,) = summary.operations
    assert row.outcomes == {"other": 1}


@pytest.mark.parametrize(("lacks", "value"), [("duration", None), ("bytes", None)])
def test_incomplete_event_is_not_counted_partly(
    manager: EventManager, summary: SummarySubscriber, lacks: str, value: object
) -> None:
    manager.emit(end(**{lacks: value}))
    assert summary.operations == []

    manager.emit(end(bytes=5))
    manager.emit(end(**{lacks: value}))
    (row,) = summary.operations
    assert (row.count, row.bytes, row.outcomes.total()) == (1, 5, 1)


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_quantile_is_the_nearest_rank(share: float, seconds: float) -> None:
    assert durations(3.0, 1.0, 4.0, 2.0).quantile(share) == seconds


def test_quantiles_of_a_single_operation_are_its_duration() -> None:
    assert {durations(0.25).quantile(share) for share in (0.0, 0.5, 0.99, 1.0)} == {0.25}


def test_transactions_are_counted_by_outcome(summary: SummarySubscriber, store: DictMemoryStore) -> None:
    for _ in range(2):
        with store.transaction():
            store.from_bytes("a", b"1")
    with pytest.raises(OSError, match="disk full"), store.transaction():
        raise OSError("disk full")

    assert summary.transactions == {"committed": 2, "rolled_back": 1}


def test_listener_errors_are_counted(manager: EventManager, summary: SummarySubscriber, store: DictMemoryStore) -> None:
    def fail(event: BaseEvent) -> None:
        raise ZeroDivisionError

    manager.connect(StoreProgressEvent, fail)

    store.from_bytes("a", b"1")

    assert summary.listener_errors == 2  # for the start and the end
    assert summary.errors == 0


def test_handled_events_are_counted(manager: EventManager, summary: SummarySubscriber, store: DictMemoryStore) -> None:
    for cls in (StoreProgressEvent, StoreTransactionEndEvent):
        manager.connect(cls, BaseEvent.mark_as_handled, priority=1_000_000)

    with store.transaction():
        store.from_bytes("a", b"1")

    assert summary.transactions.total() == 1
    assert len(summary.operations) == 1


def test_disconnect_keeps_the_counts(manager: EventManager, summary: SummarySubscriber, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    summary.disconnect()
    store.from_bytes("b", b"1")

    (row,) = summary.operations
    assert row.count == 1
    assert repr(manager) == "<EventManager: 0 listeners>"
