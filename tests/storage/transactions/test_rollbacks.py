"""A rollback that fails, and the errors that it propagates."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionAbortedError
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.transactions.contexts import SimpleTransactionContext
from tests.storage.support import END, LONG, START, RecordingStore, Transactional, recorded_names
from tests.storage.transactions.support import INTERRUPTS, Fail, assert_usable, formatted, outcome


def test_failed_rollback_propagates_error_of_block(store: Transactional, recorder: EventRecorder, fail: Fail) -> None:
    with pytest.raises(ValueError, match="bad row") as caught, store.transaction():
        fail("rollback", RuntimeError("no way back"))
        store.from_bytes("a", b"1")
        raise ValueError("bad row")

    assert recorded_names(recorder) == [START, END]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error) == ("failed", "rollback_failed", caught.value)
    assert "bad row" in formatted(caught.value)
    assert "no way back" in formatted(caught.value)
    assert_usable(store, recorder)


def test_writes_left_by_failed_rollback_are_hidden_and_discarded_by_next_transaction(
    store: Transactional, recorder: EventRecorder, fail: Fail, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(ValueError, match="bad row"), store.transaction():
        fail("rollback", RuntimeError("no way back"))
        store.from_bytes("a", b"1")
        raise ValueError("bad row")

    assert_usable(store, recorder)
    assert not store.exists("a")
    assert not pool.submit(store.exists, "a").result(LONG)


def test_failed_commit_and_rollback_propagate_commit_error(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    with pytest.raises(OSError, match="disk full") as caught, store.transaction():
        fail("commit", OSError("disk full"))
        fail("rollback", RuntimeError("no way back"))
        store.from_bytes("a", b"1")

    assert outcome(recorder) == "rollback_failed"
    assert recorder.one(StoreTransactionEndEvent).error is caught.value
    assert "no way back" in formatted(caught.value)
    assert recorded_names(recorder) == [START, END]
    assert_usable(store, recorder)


def test_aborted_transaction_with_failed_rollback_shows_all_errors(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    with pytest.raises(TransactionAbortedError) as caught, store.transaction(), suppress(OSError), store.transaction():
        fail("rollback", RuntimeError("no way back"))
        raise OSError("disk full")

    assert outcome(recorder) == "rollback_failed"
    assert "disk full" in formatted(caught.value)
    assert "no way back" in formatted(caught.value)
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_interrupted_rollback_propagates_interrupt_with_original_error(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    with pytest.raises(interrupt) as caught, store.transaction():
        fail("rollback", interrupt("stop"))
        raise ValueError("bad row")

    assert "bad row" in formatted(caught.value)
    assert outcome(recorder) == "rollback_failed"
    assert_usable(store, recorder)


class TestErrorChain:
    """The error of a rollback joins the chain of the block's error."""

    @staticmethod
    def failed(recording: RecordingStore, block: Callable[[], None], rollback: Callable[[], None]) -> BaseException:
        """Run a transaction with a failing block and rollback, and return the error that propagates."""

        class Failing(SimpleTransactionContext):
            def rollback(self) -> None:
                rollback()

        with pytest.raises(Exception, match="block") as caught, Failing(recording):
            block()
        return caught.value

    @staticmethod
    def raise_from(error: Exception, cause: Exception | None) -> None:
        raise error from cause

    @staticmethod
    def raise_in_context(error: Exception, context: Exception) -> None:
        try:
            raise context
        except type(context):
            raise error  # noqa: B904 (tests the implicit context)

    def test_rollback_error_follows_cause_of_block_error(self, recording: RecordingStore) -> None:
        error = self.failed(
            recording,
            lambda: self.raise_from(ValueError("from the block"), KeyError("its cause")),
            lambda: self.raise_from(OSError("from the rollback"), None),
        )

        assert isinstance(error.__cause__, KeyError)
        assert isinstance(error.__cause__.__context__, OSError)
        assert "from the rollback" in formatted(error)

    def test_rollback_error_is_shown_when_context_is_suppressed(self, recording: RecordingStore) -> None:
        def block() -> None:
            try:
                raise KeyError("hidden")
            except KeyError:
                raise ValueError("from the block") from None

        error = self.failed(recording, block, lambda: self.raise_from(OSError("from the rollback"), None))

        assert "from the rollback" in formatted(error)
        assert "hidden" not in formatted(error)

    def test_rollback_error_keeps_its_own_context(self, recording: RecordingStore) -> None:
        error = self.failed(
            recording,
            lambda: self.raise_from(ValueError("from the block"), None),
            lambda: self.raise_in_context(OSError("from the rollback"), KeyError("before it")),
        )

        assert (
            formatted(error).index("before it")
            < formatted(error).index("from the rollback")
            < formatted(error).index("from the bl")
        )

    def test_rollback_error_may_be_raised_from_block_error(self, recording: RecordingStore) -> None:
        original = ValueError("from the block")
        error = self.failed(
            recording,
            lambda: self.raise_from(original, None),
            lambda: self.raise_from(OSError("from the rollback"), original),
        )

        assert error is original
        assert "from the rollback" in formatted(error)

    def test_rollback_may_raise_the_block_error(self, recording: RecordingStore) -> None:
        original = ValueError("from the block")
        error = self.failed(recording, lambda: self.raise_from(original, None), lambda: self.raise_from(original, None))

        assert error is original
        assert error.__context__ is None
