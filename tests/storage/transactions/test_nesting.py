"""Nested blocks join the outermost transaction."""

from __future__ import annotations

from contextlib import suppress

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionAbortedError
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.transactions.contexts import SimpleTransactionContext
from tests.storage.support import END, SET, START, RecordingStore, Transactional, recorded_names
from tests.storage.transactions.support import FalsyError, assert_usable, outcome


def test_only_outermost_block_begins_and_commits(recording: RecordingStore, recorder: EventRecorder) -> None:
    with recording.transaction("outer"):
        with recording.transaction("middle"), recording.transaction("inner"):
            recording.from_bytes("a", b"1")
        assert recording.calls == ["begin"]

    assert recording.calls == ["begin", "commit"]
    assert recorded_names(recorder) == [START, END, SET]
    assert recorder.one(StoreTransactionEndEvent).notes == "outer"


def test_with_returns_the_active_context(store: Transactional) -> None:
    with store.transaction("outer") as active, store.transaction("inner") as joined:
        assert isinstance(active, SimpleTransactionContext)
        assert active.notes == "outer"
        assert joined is active


@pytest.mark.parametrize("error", [OSError, FalsyError])
def test_swallowed_inner_failure_aborts_the_transaction(
    error: type[Exception], store: Transactional, recorder: EventRecorder
) -> None:
    first = error("the first")
    with pytest.raises(TransactionAbortedError) as caught, store.transaction():
        store.from_bytes("a", b"1")
        with suppress(error), store.transaction():
            store.from_bytes("b", b"2")
            raise first
        with suppress(error), store.transaction():
            raise error("the second")
        with store.transaction():
            store.from_bytes("c", b"3")

    assert caught.value.__cause__ is first
    assert not any(map(store.exists, "abc"))
    assert recorded_names(recorder) == [START, END]
    assert outcome(recorder) == "rolled_back"
    assert recorder.one(StoreTransactionEndEvent).error is caught.value
    assert_usable(store, recorder)


def test_inner_failure_propagates_through_outer_block(store: Transactional, recorder: EventRecorder) -> None:
    raised = OSError("disk full")
    with pytest.raises(OSError, match="disk full") as caught, store.transaction(), store.transaction():
        store.from_bytes("a", b"1")
        raise raised

    assert caught.value is recorder.one(StoreTransactionEndEvent).error is raised
    assert outcome(recorder) == "rolled_back"
    assert_usable(store, recorder)


def test_error_after_swallowed_one_propagates(store: Transactional, recorder: EventRecorder) -> None:
    with pytest.raises(KeyError) as caught, store.transaction():
        with suppress(OSError), store.transaction():
            raise OSError("swallowed")
        raise KeyError("later")

    assert recorder.one(StoreTransactionEndEvent).error is caught.value
