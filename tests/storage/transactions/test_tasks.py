"""Transactions of one store in several asyncio tasks of a thread."""

from __future__ import annotations

import asyncio

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionTimeoutError
from encore_storage.events import StoreModificationEvent, StoreTransactionEndEvent, StoreTransactionStartEvent
from tests.storage.support import END, SET, START, Transactional, recorded_names, set_in_transaction


def test_other_task_is_refused_at_once(store: Transactional, recorder: EventRecorder) -> None:
    async def refused() -> None:
        with pytest.raises(TransactionTimeoutError, match="another task of this thread"):
            set_in_transaction(store, "theirs")
        with pytest.raises(TransactionTimeoutError, match="another task of this thread"):
            store.from_bytes("theirs", b"1")
        assert not store.exists("mine")

    async def main() -> None:
        with store.transaction():
            store.from_bytes("mine", b"1")
            await asyncio.create_task(refused())
            store.from_bytes("mine too", b"1")
        await asyncio.create_task(asyncio.to_thread(set_in_transaction, store, "afterwards"))

    asyncio.run(main())

    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["mine", "mine too", "afterwards"]


def test_same_task_joins_across_awaits(store: Transactional, recorder: EventRecorder) -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        set_in_transaction(store, "inner")

    async def main() -> None:
        with store.transaction("outer"):
            await inner()

    asyncio.run(main())

    assert recorded_names(recorder) == [START, END, SET]


def test_interleaved_tasks_are_separate(store: Transactional, recorder: EventRecorder) -> None:
    async def main() -> None:
        begun, refused = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            with store.transaction("first"):
                store.from_bytes("first", b"1")
                begun.set()
                await refused.wait()

        async def second() -> None:
            await begun.wait()
            with pytest.raises(TransactionTimeoutError):
                set_in_transaction(store, "second")
            refused.set()

        await asyncio.gather(first(), second())

    asyncio.run(main())

    assert [event.notes for event in recorder.of(StoreTransactionStartEvent)] == ["first"]
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["first"]


def test_cancelled_task_rolls_back(store: Transactional, recorder: EventRecorder) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def waiting() -> None:
            with store.transaction():
                store.from_bytes("a", b"1")
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(waiting())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        set_in_transaction(store, "afterwards")

    asyncio.run(main())

    assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["rolled_back", "committed"]
    assert not store.exists("a")
