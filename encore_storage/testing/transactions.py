"""The contract of transactions: their changes are kept as a whole or not at all, and emitted after the commit."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionAbortedError
from encore_storage.events import (
    StoreModificationEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.kit import END, SET, START, content, keep, names_of_changes, put
from encore_storage.testing.pools import DaemonPool
from encore_storage.transactions import SimpleTransactionContext

Fail = Callable[[str, BaseException], None]

INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]


def printed(error: BaseException) -> str:
    """Return the traceback of the error and of those in its chain."""
    return "".join(traceback.format_exception(error))


class TransactionContract(ContractBase):
    """The rules of transactions in one thread; skipped where the store has none."""

    @pytest.fixture
    def transactional(self, store: AbstractStore) -> AbstractStore:
        """Return the store, if it has transactions."""
        if not store.info()["transactional"]:
            pytest.skip("the store has no transactions")
        return store

    @pytest.fixture
    def fail(self, transactional: AbstractStore, monkeypatch: pytest.MonkeyPatch) -> Fail:
        """Return a function that has the next begin, commit or rollback raise instead of doing its work."""

        def fail(step: str, error: BaseException) -> None:
            name = f"_{step}_transaction"
            work = getattr(transactional, name)

            def failing() -> None:
                monkeypatch.setattr(transactional, name, work)
                raise error

            monkeypatch.setattr(transactional, name, failing)

        return fail

    def check_usable(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """Check that a new transaction works in this thread and in another."""
        recorder.clear()
        keep(store, "here")
        DaemonPool().submit(keep, store, "there").result(self.patience)
        assert store.exists("here")
        assert store.exists("there")
        assert names_of_changes(recorder) == [START, END, SET] * 2

    def test_transaction_that_ends_well_is_committed(
        self, transactional: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A block that ends well commits; its end is emitted, then its changes, once each and in order."""
        with transactional.transaction("import"):
            transactional.from_bytes("a", b"1")
            transactional.from_bytes("b", b"2")
            assert names_of_changes(recorder) == [START]

        assert names_of_changes(recorder) == [START, END, SET, SET]
        assert [event.key for event in recorder.of(StoreModificationEvent)] == ["a", "b"]
        assert transactional.to_bytes("a") == b"1"
        assert transactional.to_bytes("b") == b"2"
        self.check_usable(transactional, recorder)

    def test_transaction_events_describe_it(self, transactional: AbstractStore, recorder: EventRecorder) -> None:
        """Start and end carry store, notes and the id of the transaction; the end has its durations and counts."""
        with transactional.transaction("import of March"):
            transactional.from_bytes("a", b"1")
            transactional.exists("a")

        start, end = recorder.one(StoreTransactionStartEvent), recorder.one(StoreTransactionEndEvent)
        for event in (start, end):
            assert (event.source, event.store, event.notes) == (transactional, "archive", "import of March")
        assert start.transaction_id == end.transaction_id == recorder.one(StoreSetEvent).transaction_id
        assert start.timestamp > 1e9
        assert (end.state, end.outcome, end.error, end.held, end.operations) == ("done", "committed", None, 1, 2)
        assert end.commit_duration is not None
        assert 0 <= end.commit_duration <= end.duration

    def test_transactions_have_different_ids(self, transactional: AbstractStore, recorder: EventRecorder) -> None:
        """Each transaction has an id of its own."""
        for _ in range(2):
            with transactional.transaction():
                pass

        assert len({event.transaction_id for event in recorder.of(StoreTransactionEvent)}) == 2

    def test_change_is_committed_when_it_is_emitted(
        self, transactional: AbstractStore, manager: EventManager, pool: Executor
    ) -> None:
        """When a change of a transaction is emitted, other threads see it."""
        seen = []

        def look(event: StoreSetEvent) -> None:
            seen.append(pool.submit(transactional.exists, str(event.key)).result(self.patience))

        manager.connect(StoreSetEvent, look)
        with transactional.transaction():
            transactional.from_bytes("a", b"1")

        assert seen == [True]

    @pytest.mark.parametrize("error", [ValueError, *INTERRUPTS])
    def test_transaction_that_raises_is_rolled_back(
        self, error: type[BaseException], transactional: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A block that raises is rolled back: values, metadata and keys are as before, and no change is emitted."""
        put(transactional, "replaced", b"old", {"state": "old"})
        put(transactional, "deleted", b"old", {"state": "old"})
        put(transactional, "described", b"old", {"state": "old"})
        recorder.clear()
        raised = error()

        with pytest.raises(error) as caught, transactional.transaction("import"):
            put(transactional, "replaced", b"new", {"state": "new"})
            put(transactional, "replaced", b"newer", {"state": "newer"})
            transactional.delete("deleted")
            transactional.set_metadata("described", {"state": "new"})
            transactional.from_bytes("added", b"1")
            raise raised

        assert caught.value is raised
        assert sorted(transactional.query_keys()) == ["deleted", "described", "replaced"]
        for key in ("replaced", "deleted", "described"):
            assert content(transactional, key) == (b"old", {"state": "old"})
        assert names_of_changes(recorder) == [START, END]
        end = recorder.one(StoreTransactionEndEvent)
        assert (end.state, end.outcome, end.error, end.held) == ("failed", "rolled_back", raised, 5)
        assert (end.commit_duration, end.notes) == (None, "import")
        self.check_usable(transactional, recorder)

    def test_inner_block_joins_the_outer(self, transactional: AbstractStore, recorder: EventRecorder) -> None:
        """Blocks inside a block join it: `with` returns the same context, and only the outermost commits."""
        with transactional.transaction("outer") as active:
            with transactional.transaction("inner") as joined:
                transactional.from_bytes("a", b"1")
            assert joined is active
            assert names_of_changes(recorder) == [START]
            assert isinstance(active, SimpleTransactionContext)
            assert active.notes == "outer"

        assert names_of_changes(recorder) == [START, END, SET]
        assert recorder.one(StoreTransactionEndEvent).notes == "outer"

    def test_swallowed_inner_failure_rolls_back_the_whole(
        self, transactional: AbstractStore, recorder: EventRecorder
    ) -> None:
        """If an inner block fails and the outer swallows the error, the outermost rolls back and raises.

        The TransactionAbortedError has the first inner error as its cause.
        """
        first = OSError("the first")
        with pytest.raises(TransactionAbortedError) as caught, transactional.transaction():
            transactional.from_bytes("a", b"1")
            with suppress(OSError), transactional.transaction():
                transactional.from_bytes("b", b"2")
                raise first
            with suppress(OSError), transactional.transaction():
                raise OSError("the second")
            with transactional.transaction():
                transactional.from_bytes("c", b"3")

        assert caught.value.__cause__ is first
        assert not any(map(transactional.exists, "abc"))
        assert names_of_changes(recorder) == [START, END]
        end = recorder.one(StoreTransactionEndEvent)
        assert (end.outcome, end.error) == ("rolled_back", caught.value)
        self.check_usable(transactional, recorder)

    @pytest.mark.parametrize("error", [OSError("locked"), *(interrupt() for interrupt in INTERRUPTS)], ids=repr)
    def test_begin_that_fails_leaves_nothing(
        self, error: BaseException, transactional: AbstractStore, recorder: EventRecorder, fail: Fail
    ) -> None:
        """If the begin raises, nothing is emitted, nothing is set, and the next transaction works."""
        fail("begin", error)

        with pytest.raises(type(error)):
            keep(transactional, "a")

        assert recorder.events == []
        assert not transactional.exists("a")
        self.check_usable(transactional, recorder)

    @pytest.mark.parametrize("error", [OSError("full"), *(interrupt() for interrupt in INTERRUPTS)], ids=repr)
    def test_commit_that_fails_is_rolled_back(
        self, error: BaseException, transactional: AbstractStore, recorder: EventRecorder, fail: Fail
    ) -> None:
        """If the commit raises before it took effect, the transaction is rolled back and its changes are discarded."""
        fail("commit", error)

        with pytest.raises(type(error)) as caught, transactional.transaction():
            transactional.from_bytes("a", b"1")

        assert caught.value is error
        assert not transactional.exists("a")
        assert names_of_changes(recorder) == [START, END]
        end = recorder.one(StoreTransactionEndEvent)
        assert (end.state, end.outcome, end.error, end.held) == ("failed", "commit_failed", error, 1)
        assert end.commit_duration is not None
        self.check_usable(transactional, recorder)

    def test_rollback_that_fails_shows_both_errors(
        self, transactional: AbstractStore, recorder: EventRecorder, fail: Fail, pool: Executor
    ) -> None:
        """If the rollback raises, the error of the block propagates, with the other in its chain.

        Other threads never see what is left, and the next transaction removes it.
        """
        with pytest.raises(ValueError, match="bad row") as caught, transactional.transaction():
            fail("rollback", RuntimeError("no way back"))
            transactional.from_bytes("a", b"1")
            raise ValueError("bad row")

        assert not pool.submit(transactional.exists, "a").result(self.patience)
        assert names_of_changes(recorder) == [START, END]
        end = recorder.one(StoreTransactionEndEvent)
        assert (end.state, end.outcome, end.error) == ("failed", "rollback_failed", caught.value)
        assert "bad row" in printed(caught.value)
        assert "no way back" in printed(caught.value)
        self.check_usable(transactional, recorder)
        assert not transactional.exists("a")
        assert not pool.submit(transactional.exists, "a").result(self.patience)

    def test_commit_and_rollback_that_fail_show_both_errors(
        self, transactional: AbstractStore, recorder: EventRecorder, fail: Fail
    ) -> None:
        """If commit and rollback both raise, the error of the commit propagates, with the other in its chain."""
        with pytest.raises(OSError, match="disk full") as caught, transactional.transaction():
            fail("commit", OSError("disk full"))
            fail("rollback", RuntimeError("no way back"))
            transactional.from_bytes("a", b"1")

        assert "no way back" in printed(caught.value)
        assert names_of_changes(recorder) == [START, END]
        end = recorder.one(StoreTransactionEndEvent)
        assert (end.outcome, end.error) == ("rollback_failed", caught.value)
        self.check_usable(transactional, recorder)

    @pytest.mark.parametrize("cls", [StoreTransactionStartEvent, StoreTransactionEndEvent, StoreSetEvent])
    def test_listener_that_fails_changes_nothing(
        self, cls: type[BaseEvent], transactional: AbstractStore, manager: EventManager, recorder: EventRecorder
    ) -> None:
        """A listener that raises does not affect the transaction."""
        with manager.connect(cls, lambda event: 1 / 0), transactional.transaction():
            transactional.from_bytes("a", b"1")

        assert transactional.exists("a")
        assert names_of_changes(recorder) == [START, END, SET]
        self.check_usable(transactional, recorder)

    def test_store_is_free_when_the_end_of_a_transaction_is_emitted(
        self, transactional: AbstractStore, manager: EventManager, recorder: EventRecorder, pool: Executor
    ) -> None:
        """A listener of the end may write, begin a transaction, and wait for another thread to write."""

        def note(event: BaseEvent) -> None:
            subscription.disconnect()
            transactional.from_bytes("noted here", b"1")
            pool.submit(transactional.from_bytes, "noted there", b"1").result(self.patience)
            keep(transactional, "noted in a transaction")

        subscription = manager.connect(StoreTransactionEndEvent, note)
        keep(transactional, "a")

        keys = sorted(str(event.key) for event in recorder.of(StoreSetEvent))
        assert keys == ["a", "noted here", "noted in a transaction", "noted there"]
        self.check_usable(transactional, recorder)
