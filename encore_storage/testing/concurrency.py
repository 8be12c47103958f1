"""The contract of concurrent transactions: they never overlap, and their changes are hidden until the commit."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import StoreError, TransactionTimeoutError
from encore_storage.events import (
    StoreModificationEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import NewStore
from encore_storage.testing.kit import (
    A_MOMENT,
    END,
    SET,
    START,
    Elsewhere,
    assert_still_waits,
    keep,
    names_of_changes,
    put,
    run_together,
    snapshot,
)
from encore_storage.testing.transactions import TransactionContract


class ConcurrencyContract(TransactionContract):
    """The rules of transactions in several threads and tasks; skipped where the store has none."""

    def test_transaction_of_another_thread_waits(
        self, transactional: AbstractStore, recorder: EventRecorder, pool: Executor
    ) -> None:
        """A transaction of another thread begins after the outermost block has ended."""
        with transactional.transaction("outer"):
            with transactional.transaction("inner"):
                transactional.from_bytes("mine", b"1")
                waiting = pool.submit(keep, transactional, "theirs")
            assert_still_waits(waiting)
        waiting.result(self.patience)

        assert [event.notes for event in recorder.of(StoreTransactionStartEvent)] == ["outer", "theirs"]
        assert sorted(names_of_changes(recorder)) == sorted([START, END, SET] * 2)
        assert len({event.transaction_id for event in recorder.of(StoreModificationEvent)}) == 2

    def test_write_of_another_thread_waits(
        self, transactional: AbstractStore, recorder: EventRecorder, pool: Executor
    ) -> None:
        """A write of another thread waits for the transaction and is no part of it."""
        with transactional.transaction():
            transactional.from_bytes("mine", b"1")
            waiting = pool.submit(transactional.from_bytes, "theirs", b"1")
            assert_still_waits(waiting)
        waiting.result(self.patience)

        ids = {event.key: event.transaction_id for event in recorder.of(StoreModificationEvent)}
        assert ids["theirs"] is None
        assert recorder.one(StoreTransactionEndEvent).held == 1

    def test_rollback_undoes_nothing_of_another_thread(
        self, transactional: AbstractStore, recorder: EventRecorder, pool: Executor
    ) -> None:
        """A rollback undoes nothing that another thread commits afterwards."""
        with pytest.raises(OSError, match="disk full"), transactional.transaction():
            transactional.from_bytes("mine", b"1")
            waiting = pool.submit(keep, transactional, "theirs")
            raise OSError("disk full")
        waiting.result(self.patience)

        assert not transactional.exists("mine")
        assert transactional.exists("theirs")
        assert [event.key for event in recorder.of(StoreModificationEvent)] == ["theirs"]

    def test_commit_survives_the_rollback_of_another_thread(self, transactional: AbstractStore, pool: Executor) -> None:
        """A committed value is not undone by the rollback of another thread."""
        with transactional.transaction():
            transactional.from_bytes("mine", b"1")
            waiting = pool.submit(keep, transactional, "theirs", OSError("disk full"))
        with pytest.raises(OSError, match="disk full"):
            waiting.result(self.patience)

        assert transactional.exists("mine")
        assert not transactional.exists("theirs")

    @pytest.mark.parametrize("error", [None, OSError("disk full")], ids=["commit", "rollback"])
    def test_uncommitted_key_is_hidden_from_other_threads(
        self, error: OSError | None, transactional: AbstractStore, pool: Executor
    ) -> None:
        """A key that another thread has set in a transaction exists only once that is committed."""
        elsewhere = Elsewhere(pool, transactional, self.patience)
        try:
            assert not transactional.exists("theirs")
        finally:
            elsewhere.end(error)

        assert transactional.exists("theirs") is (error is None)

    def test_other_threads_see_the_values_before_the_transaction(
        self, transactional: AbstractStore, pool: Executor
    ) -> None:
        """Until the commit, other threads see all values as they were; the transaction sees its own changes."""
        for key in ("replaced", "deleted", "described"):
            put(transactional, key, b"old", {"state": "old"})

        with transactional.transaction():
            transactional.from_bytes("replaced", b"new")
            transactional.delete("deleted")
            transactional.set_metadata("described", {"state": "new"})
            transactional.from_bytes("added", b"new")
            mine = snapshot(transactional)
            theirs = pool.submit(snapshot, transactional).result(self.patience)

        old = (b"old", {"state": "old"})
        assert theirs == {"replaced": old, "deleted": old, "described": old}
        assert mine == snapshot(transactional)
        assert mine == {
            "replaced": (b"new", {"state": "old"}),
            "described": (b"old", {"state": "new"}),
            "added": (b"new", {}),
        }

    @pytest.mark.parametrize("is_set_later", [False, True], ids=["argument", "attribute"])
    def test_waiting_ends_after_the_timeout_of_the_store(
        self,
        is_set_later: bool,
        transactional: AbstractStore,
        new_store: NewStore,
        recorder: EventRecorder,
        pool: Executor,
    ) -> None:
        """A thread that has waited for `timeout` seconds raises TransactionTimeoutError; it may be set later."""
        store = new_store("patient", timeout=None if is_set_later else A_MOMENT)
        if is_set_later:
            store.timeout = A_MOMENT
        elsewhere = Elsewhere(pool, store, self.patience)
        try:
            with pytest.raises(TransactionTimeoutError, match=r"did not end within 0\.05 s"):
                keep(store, "mine")
            with pytest.raises(TransactionTimeoutError):
                store.from_bytes("mine", b"1")
        finally:
            elsewhere.end()
        keep(store, "mine")

        assert store.exists("theirs")
        assert store.exists("mine")
        assert len(recorder.of(StoreTransactionStartEvent)) == 2
        assert not transactional.exists("mine")

    def test_transactions_never_overlap(
        self, transactional: AbstractStore, recorder: EventRecorder, pool: Executor
    ) -> None:
        """Of the transactions that several threads begin at the same time, one is active at a time."""
        inside: list[int] = []
        most: list[int] = []

        def work(thread: int) -> None:
            with transactional.transaction():
                inside.append(thread)
                transactional.from_bytes(str(thread), b"1")
                most.append(len(inside))
                inside.remove(thread)

        run_together(pool, [partial(work, thread) for thread in range(8)], self.patience)

        assert most == [1] * 8
        assert len({event.transaction_id for event in recorder.of(StoreTransactionEvent)}) == 8

    def test_read_and_write_in_a_transaction_are_atomic(self, transactional: AbstractStore, pool: Executor) -> None:
        """Threads that read a value and set a new one, each in a transaction, lose no update."""
        transactional.from_bytes("total", b"0")

        def add() -> None:
            for _ in range(10):
                with transactional.transaction():
                    transactional.from_bytes("total", str(int(transactional.to_bytes("total")) + 1).encode())

        run_together(pool, [add] * 4, self.patience)

        assert transactional.to_bytes("total") == b"40"

    def test_store_is_not_disconnected_in_a_transaction(self, transactional: AbstractStore, pool: Executor) -> None:
        """`disconnect` raises in a transaction of the caller, and waits for that of another thread."""
        with transactional.transaction():
            with pytest.raises(StoreError, match="inside its transaction"):
                transactional.disconnect()
            transactional.from_bytes("mine", b"1")
            waiting = pool.submit(transactional.disconnect)
            assert_still_waits(waiting)
        waiting.result(self.patience)

        assert not transactional.is_connected()

    def test_another_task_is_refused(
        self, transactional: AbstractStore, recorder: EventRecorder, pool: Executor
    ) -> None:
        """Another task of the same thread is refused at once, since waiting would block the loop; it may read.

        It sees what was committed, as another thread does.
        """

        async def refused() -> None:
            with pytest.raises(TransactionTimeoutError, match="another task of this thread"):
                keep(transactional, "theirs")
            with pytest.raises(TransactionTimeoutError, match="another task of this thread"):
                transactional.from_bytes("theirs", b"1")
            assert not transactional.exists("mine")

        async def main() -> None:
            with transactional.transaction():
                transactional.from_bytes("mine", b"1")
                await asyncio.create_task(refused())
                transactional.from_bytes("mine too", b"1")
            # As asyncio.to_thread does, in a thread that is not waited for at the end.
            afterwards = pool.submit(copy_context().run, keep, transactional, "afterwards")
            await asyncio.wait_for(asyncio.wrap_future(afterwards), self.patience)

        asyncio.run(main())

        assert [event.key for event in recorder.of(StoreModificationEvent)] == ["mine", "mine too", "afterwards"]

    def test_same_task_joins_across_awaits(self, transactional: AbstractStore, recorder: EventRecorder) -> None:
        """A block that a task enters after an await joins the transaction of that task."""

        async def inner() -> None:
            await asyncio.sleep(0)
            keep(transactional, "inner")

        async def main() -> None:
            with transactional.transaction("outer"):
                await inner()

        asyncio.run(main())

        assert names_of_changes(recorder) == [START, END, SET]

    def test_cancelled_task_rolls_back(self, transactional: AbstractStore, recorder: EventRecorder) -> None:
        """A task that is cancelled in its transaction rolls back; the store is free afterwards."""

        async def main() -> None:
            has_begun = asyncio.Event()

            async def waiting() -> None:
                try:
                    with transactional.transaction():
                        transactional.from_bytes("a", b"1")
                        has_begun.set()
                        await asyncio.sleep(self.patience)
                finally:
                    has_begun.set()

            task = asyncio.create_task(waiting())
            await asyncio.wait_for(has_begun.wait(), self.patience)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            keep(transactional, "afterwards")

        asyncio.run(main())

        assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["rolled_back", "committed"]
        assert not transactional.exists("a")
        self.check_usable(transactional, recorder)
