"""Owners of transactions and writes: threads and tasks that end inside, and blocks left in another one."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionError, TransactionTimeoutError
from encore_storage.events import StoreModificationEvent, StoreTransactionEndEvent
from encore_storage.stores import DictMemoryStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from tests.storage.support import LONG, settled


@pytest.fixture
def archive(archive: AbstractStore) -> AbstractStore:
    """Return a transactional store whose timeout is shorter than the test's."""
    archive.timeout = LONG / 3
    return archive


def run_in_thread(work: Callable[[], object]) -> None:
    """Run the work in a thread of its own, and wait until the thread has ended."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()


def check_rolled_back_once(archive: AbstractStore, recorder: EventRecorder, *keys: str) -> None:
    """Assert that the store is unlocked, and that one transaction was rolled back with its keys and events."""
    run_in_thread(lambda: archive.from_bytes("next", b"1"))
    assert archive.to_bytes("next") == b"1"
    settled()
    assert not [key for key in keys if archive.exists(key)]
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["next"]
    assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["rolled_back"]


def rows(archive: AbstractStore) -> Generator[int, None, None]:
    """Yield rows inside a transaction."""
    with archive.transaction("rows"):
        archive.from_bytes("a", b"1")
        yield 1
        archive.from_bytes("b", b"1")
        yield 2


async def async_rows(archive: AbstractStore) -> AsyncIterator[int]:
    """Yield rows inside a transaction of a task."""
    with archive.transaction("rows"):
        archive.from_bytes("a", b"1")
        yield 1
        archive.from_bytes("b", b"1")
        yield 2


class TestEndedThread:
    """The thread that entered a block or a write has ended inside it."""

    def test_open_transaction_is_rolled_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        suspended = rows(archive)
        run_in_thread(lambda: next(suspended))

        check_rolled_back_once(archive, recorder, "a")

        assert "its block was never left" in str(recorder.one(StoreTransactionEndEvent).error)

    def test_new_thread_with_same_ident_is_not_the_owner(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        idents, suspended = [], []

        def enter() -> None:
            idents.append(threading.get_ident())
            suspended.append(rows(archive))
            next(suspended[-1])

        def write() -> None:
            idents.append(threading.get_ident())
            archive.from_bytes("mine", b"1")

        for _ in range(20):
            run_in_thread(enter)
            run_in_thread(write)
            assert archive.to_bytes("mine") == b"1"
            archive.delete("mine")
            if idents[-1] == idents[-2]:
                break
        settled()

        assert idents[-1] == idents[-2], "the system did not reuse an ident"
        assert {event.outcome for event in recorder.of(StoreTransactionEndEvent)} == {"rolled_back"}
        assert {event.transaction_id for event in recorder.of(StoreModificationEvent)} == {None}

    def test_block_can_be_closed_in_another_thread(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        suspended = rows(archive)
        run_in_thread(lambda: next(suspended))
        check_rolled_back_once(archive, recorder, "a")

        suspended.close()

        assert archive.to_bytes("next") == b"1"
        assert len(recorder.of(StoreTransactionEndEvent)) == 1

    def test_open_write_is_rolled_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        writing = archive._writing()
        run_in_thread(writing.__enter__)

        run_in_thread(lambda: archive.from_bytes("next", b"1"))

        assert list(archive.query_keys()) == ["next"]
        assert recorder.one(StoreModificationEvent).key == "next"


class TestExitElsewhere:
    """A block is left in another thread or task than it was entered in."""

    def test_exit_in_another_thread_rolls_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        entry = archive.transaction("pooled")

        def enter() -> None:
            entry.__enter__()
            archive.from_bytes("a", b"1")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(enter).result()

            with pytest.raises(TransactionError, match="entered in another thread or task than it was left in"):
                entry.__exit__(None, None, None)

            check_rolled_back_once(archive, recorder, "a")

    def test_exit_in_another_thread_propagates_error_of_block(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        @contextmanager
        def transaction() -> Iterator[None]:
            with archive.transaction("pooled"):
                archive.from_bytes("a", b"1")
                yield

        block = transaction()
        with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
            first.submit(block.__enter__).result()
            error = OSError("disk full")

            assert second.submit(block.__exit__, OSError, error, None).result() is False  # the error propagates

            check_rolled_back_once(archive, recorder, "a")

    def test_exit_in_another_task_rolls_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        async def main() -> None:
            entry = archive.transaction("handed over")

            async def enter() -> None:
                entry.__enter__()
                archive.from_bytes("a", b"1")

            async def leave() -> None:
                entry.__exit__(None, None, None)

            await asyncio.create_task(enter())
            with pytest.raises(TransactionError, match="another thread or task"):
                await asyncio.create_task(leave())

        asyncio.run(main())

        check_rolled_back_once(archive, recorder, "a")


class TestAsyncGenerator:
    """An async generator yields inside a transaction."""

    def test_abandoned_generator_rolls_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            async for _ in async_rows(archive):
                break
            gc.collect()

        asyncio.run(main())

        check_rolled_back_once(archive, recorder, "a")

    def test_error_thrown_by_another_task_rolls_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        async def main() -> None:
            generator: Any = async_rows(archive)
            await asyncio.create_task(anext(generator))
            with pytest.raises(OSError, match="disk full"):
                await asyncio.create_task(generator.athrow(OSError("disk full")))

        asyncio.run(main())

        check_rolled_back_once(archive, recorder, "a")

    def test_generator_resumed_in_another_task_is_outside_the_transaction(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        async def main() -> None:
            generator: Any = async_rows(archive)
            await asyncio.create_task(anext(generator))
            assert await asyncio.create_task(anext(generator)) == 2
            with pytest.raises(TransactionError, match="another thread or task"):
                await asyncio.create_task(anext(generator))

        asyncio.run(main())

        assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["rolled_back"]
        assert archive.to_bytes("b") == b"1"  # written by a task without a transaction
        assert not archive.exists("a")

    def test_closed_loop_rolls_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        generator: Any = async_rows(archive)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(anext(generator))
        loop.close()

        check_rolled_back_once(archive, recorder, "a")

        with pytest.raises(StopIteration):
            generator.aclose().send(None)


class TestThreadAwaitedByTask:
    """A task awaits a thread that uses the store of the task's transaction."""

    @pytest.mark.parametrize(
        "act",
        [lambda store: store.from_bytes("b", b"1"), lambda store: store.transaction().__enter__()],
        ids=["write", "transaction"],
    )
    def test_write_inside_transaction_raises_at_once(
        self, archive: AbstractStore, act: Callable[[AbstractStore], object]
    ) -> None:
        archive.timeout = None

        async def main() -> None:
            with archive.transaction():
                archive.from_bytes("a", b"1")
                with pytest.raises(TransactionTimeoutError, match="waits for this call"):
                    await asyncio.to_thread(act, archive)

        asyncio.run(main())

        assert list(archive.query_keys()) == ["a"]

    def test_write_from_child_task_raises_at_once(self, archive: AbstractStore) -> None:
        archive.timeout = None

        async def main() -> None:
            with archive.transaction(), pytest.raises(TransactionTimeoutError):
                await asyncio.create_task(asyncio.to_thread(archive.from_bytes, "b", b"1"))

        asyncio.run(main())

    def test_write_raises_inside_transactions_of_two_stores(
        self, archive: AbstractStore, manager: EventManager
    ) -> None:
        other = DictMemoryStore(name="other", event_manager=manager)
        archive.timeout = None

        async def main() -> None:
            with archive.transaction(), other.transaction():
                for store in (archive, other):
                    with pytest.raises(TransactionTimeoutError):
                        await asyncio.to_thread(store.from_bytes, "b", b"1")

        asyncio.run(main())

    def test_reads_and_other_stores_work(self, archive: AbstractStore, manager: EventManager) -> None:
        archive.from_bytes("a", b"old")
        other = DictMemoryStore(name="other", event_manager=manager)

        async def main() -> None:
            with archive.transaction():
                archive.from_bytes("a", b"new")
                assert await asyncio.to_thread(archive.to_bytes, "a") == b"old"
                assert await asyncio.to_thread(lambda: list(archive.query_keys())) == ["a"]
                await asyncio.to_thread(other.from_bytes, "b", b"1")

        asyncio.run(main())

        assert (archive.to_bytes("a"), other.to_bytes("b")) == (b"new", b"1")

    def test_write_through_store_of_same_database_raises(self, tmp_path: Path, manager: EventManager) -> None:
        store, other = (SqliteStore(tmp_path / "store.db", event_manager=manager) for _ in range(2))

        async def main() -> None:
            with store.transaction():
                store.from_bytes("a", b"1")
                with pytest.raises(TransactionTimeoutError, match="is writing to the same database"):
                    await asyncio.to_thread(other.from_bytes, "b", b"1")
                with pytest.raises(TransactionTimeoutError, match="is writing to the same database"):
                    other.from_bytes("b", b"1")

        asyncio.run(main())

        other.from_bytes("b", b"1")
        assert sorted(store.query_keys()) == ["a", "b"]

    def test_write_after_transaction_succeeds(self, archive: AbstractStore) -> None:
        async def main() -> None:
            with archive.transaction():
                archive.from_bytes("a", b"1")
                ended = asyncio.Event()

                async def later() -> None:
                    await ended.wait()
                    await asyncio.to_thread(archive.from_bytes, "b", b"1")

                task = asyncio.create_task(later())
            await asyncio.to_thread(archive.from_bytes, "c", b"1")
            ended.set()
            await task

        asyncio.run(main())

        assert sorted(archive.query_keys()) == ["a", "b", "c"]

    def test_thread_without_context_waits(self, archive: AbstractStore) -> None:
        async def main() -> None:
            with archive.transaction():
                archive.from_bytes("a", b"1")
                waiting = asyncio.get_running_loop().run_in_executor(None, archive.from_bytes, "b", b"1")
            await waiting

        asyncio.run(main())

        assert sorted(archive.query_keys()) == ["a", "b"]
