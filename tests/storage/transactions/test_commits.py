"""A commit that fails or is interrupted."""

from __future__ import annotations

from contextlib import suppress

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreTransactionEndEvent
from tests.storage.support import END, SET, START, RecordingStore, Transactional, recorded_names
from tests.storage.transactions.support import INTERRUPTS, Fail, assert_usable, outcome


def test_failed_commit_rolls_back_and_discards_changes(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    failure = OSError("disk full")
    fail("commit", failure)

    with pytest.raises(OSError, match="disk full") as caught, store.transaction():
        store.from_bytes("a", b"1")

    assert caught.value is failure
    assert not store.exists("a")
    assert recorded_names(recorder) == [START, END]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error, end.held) == ("failed", "commit_failed", failure, 1)
    assert end.commit_duration is not None
    assert_usable(store, recorder)


def test_failed_commit_calls_rollback(recording: RecordingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit() -> None:
        raise OSError("disk full")

    monkeypatch.setattr(recording, "_commit_transaction", commit)
    with suppress(OSError), recording.transaction():
        pass

    assert recording.calls == ["begin", "rollback"]


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_interrupt_after_effective_commit_propagates_as_committed(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("commit", interrupt(), after=True)

    with pytest.raises(interrupt), store.transaction():
        store.from_bytes("a", b"1")

    assert store.exists("a")
    assert recorded_names(recorder) == [START, END, SET]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error) == ("done", "committed", None)
    assert end.commit_duration is not None
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_interrupt_before_effective_commit_rolls_back_and_propagates(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("commit", interrupt())

    with pytest.raises(interrupt), store.transaction():
        store.from_bytes("a", b"1")

    assert not store.exists("a")
    assert recorded_names(recorder) == [START, END]
    assert outcome(recorder) == "commit_failed"
    assert_usable(store, recorder)


def test_interrupted_commit_without_in_transaction_rolls_back(manager: EventManager, recorder: EventRecorder) -> None:
    class Unknowing(RecordingStore):
        _in_transaction = None  # type: ignore[assignment]  # the hook is optional

        def _commit_transaction(self) -> None:
            super()._commit_transaction()
            raise KeyboardInterrupt

    store = Unknowing(event_manager=manager)
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.from_bytes("a", b"1")

    assert store.calls == ["begin", "commit", "rollback"]
    assert outcome(recorder) == "commit_failed"
