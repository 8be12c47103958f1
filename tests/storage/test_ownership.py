"""A transaction or a write that nobody is left to end is ended, and what is inside of a write shares its fate."""

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
from encore_storage.events import StoreModificationEvent, StoreProgressStepEvent, StoreTransactionEndEvent
from encore_storage.stores import DictMemoryStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.streams import MEBIBYTE
from tests.storage.support import LONG, Source, settled


@pytest.fixture
def archive(archive: AbstractStore) -> AbstractStore:
    """A store that has transactions, and gives up waiting before a test does."""
    archive.timeout = LONG / 3
    return archive


def in_a_thread(work: Callable[[], object]) -> None:
    """Do the work in a thread that has ended then."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()


def check_rolled_back_once(archive: AbstractStore, recorder: EventRecorder, *keys: str) -> None:
    """The store is free, nothing of the keys is there or told, and there was one end."""
    in_a_thread(lambda: archive.from_bytes("next", b"1"))
    assert archive.to_bytes("next") == b"1"
    settled()
    assert not [key for key in keys if archive.exists(key)]
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["next"]
    assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["rolled_back"]


def rows(archive: AbstractStore) -> Generator[int, None, None]:
    """A generator that is in a transaction between its rows."""
    with archive.transaction("rows"):
        archive.from_bytes("a", b"1")
        yield 1
        archive.from_bytes("b", b"1")
        yield 2


async def rows_of_a_task(archive: AbstractStore) -> AsyncIterator[int]:
    """The same for tasks."""
    with archive.transaction("rows"):
        archive.from_bytes("a", b"1")
        yield 1
        archive.from_bytes("b", b"1")
        yield 2


class TestAThreadThatEnds:
    def test_inside_a_transaction_has_it_rolled_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        suspended = rows(archive)
        in_a_thread(lambda: next(suspended))

        check_rolled_back_once(archive, recorder, "a")

        assert "its block was never left" in str(recorder.one(StoreTransactionEndEvent).error)

    def test_is_not_mistaken_for_a_later_one_of_the_same_ident(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        idents, suspended = [], []

        def enter() -> None:
            idents.append(threading.get_ident())
            suspended.append(rows(archive))
            next(suspended[-1])

        def write() -> None:
            idents.append(threading.get_ident())
            archive.from_bytes("mine", b"1")

        for _ in range(20):
            in_a_thread(enter)
            in_a_thread(write)
            assert archive.to_bytes("mine") == b"1"
            archive.delete("mine")
            if idents[-1] == idents[-2]:
                break
        settled()

        assert idents[-1] == idents[-2], "the system has used no ident again"
        assert {event.outcome for event in recorder.of(StoreTransactionEndEvent)} == {"rolled_back"}
        assert {event.transaction_id for event in recorder.of(StoreModificationEvent)} == {None}

    def test_leaves_a_block_that_can_be_left_elsewhere_without_harm(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        suspended = rows(archive)
        in_a_thread(lambda: next(suspended))
        check_rolled_back_once(archive, recorder, "a")

        suspended.close()

        assert archive.to_bytes("next") == b"1"
        assert len(recorder.of(StoreTransactionEndEvent)) == 1

    def test_inside_a_write_has_it_undone(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        writing = archive._writing()
        in_a_thread(writing.__enter__)

        in_a_thread(lambda: archive.from_bytes("next", b"1"))

        assert list(archive.query_keys()) == ["next"]
        assert recorder.one(StoreModificationEvent).key == "next"


class TestATransactionThatIsLeftElsewhere:
    def test_by_another_thread_is_rolled_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        entry = archive.transaction("pooled")

        def enter() -> None:
            entry.__enter__()
            archive.from_bytes("a", b"1")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(enter).result()

            with pytest.raises(TransactionError, match="entered in another thread or task than it was left in"):
                entry.__exit__(None, None, None)

            check_rolled_back_once(archive, recorder, "a")

    def test_by_another_thread_of_a_pool_shows_the_error_of_its_block(
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
            error = OSError("no room")

            assert second.submit(block.__exit__, OSError, error, None).result() is False  # it goes on

            check_rolled_back_once(archive, recorder, "a")

    def test_by_another_task_is_rolled_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
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


class TestAnAsyncGenerator:
    def test_that_is_left_early_has_its_transaction_rolled_back(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            async for _ in rows_of_a_task(archive):
                break
            gc.collect()

        asyncio.run(main())

        check_rolled_back_once(archive, recorder, "a")

    def test_that_is_thrown_into_by_another_task_is_rolled_back(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        async def main() -> None:
            generator: Any = rows_of_a_task(archive)
            await asyncio.create_task(anext(generator))
            with pytest.raises(OSError, match="no room"):
                await asyncio.create_task(generator.athrow(OSError("no room")))

        asyncio.run(main())

        check_rolled_back_once(archive, recorder, "a")

    def test_that_goes_on_in_another_task_is_no_part_of_the_transaction(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        async def main() -> None:
            generator: Any = rows_of_a_task(archive)
            await asyncio.create_task(anext(generator))
            assert await asyncio.create_task(anext(generator)) == 2
            with pytest.raises(TransactionError, match="another thread or task"):
                await asyncio.create_task(anext(generator))

        asyncio.run(main())

        assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["rolled_back"]
        assert archive.to_bytes("b") == b"1"  # of a task that was in no transaction
        assert not archive.exists("a")

    def test_whose_loop_is_closed_is_rolled_back(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        generator: Any = rows_of_a_task(archive)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(anext(generator))
        loop.close()

        check_rolled_back_once(archive, recorder, "a")

        with pytest.raises(StopIteration):
            generator.aclose().send(None)


class TestAThreadThatATaskWaitsFor:
    @pytest.mark.parametrize(
        "act",
        [lambda store: store.from_bytes("b", b"1"), lambda store: store.transaction().__enter__()],
        ids=["write", "transaction"],
    )
    def test_is_refused_at_once_inside_its_transaction(
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

    def test_is_refused_from_a_task_that_was_started_in_it_too(self, archive: AbstractStore) -> None:
        archive.timeout = None

        async def main() -> None:
            with archive.transaction(), pytest.raises(TransactionTimeoutError):
                await asyncio.create_task(asyncio.to_thread(archive.from_bytes, "b", b"1"))

        asyncio.run(main())

    def test_is_refused_in_the_outer_one_of_two_stores(self, archive: AbstractStore, manager: EventManager) -> None:
        other = DictMemoryStore(name="other", event_manager=manager)
        archive.timeout = None

        async def main() -> None:
            with archive.transaction(), other.transaction():
                for store in (archive, other):
                    with pytest.raises(TransactionTimeoutError):
                        await asyncio.to_thread(store.from_bytes, "b", b"1")

        asyncio.run(main())

    def test_reads_and_uses_other_stores(self, archive: AbstractStore, manager: EventManager) -> None:
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

    def test_is_refused_through_another_store_of_the_same_database(self, tmp_path: Path, manager: EventManager) -> None:
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

    def test_writes_when_the_transaction_is_over(self, archive: AbstractStore) -> None:
        async def main() -> None:
            with archive.transaction():
                archive.from_bytes("a", b"1")
                over = asyncio.Event()

                async def later() -> None:
                    await over.wait()
                    await asyncio.to_thread(archive.from_bytes, "b", b"1")

                task = asyncio.create_task(later())
            await asyncio.to_thread(archive.from_bytes, "c", b"1")
            over.set()
            await task

        asyncio.run(main())

        assert sorted(archive.query_keys()) == ["a", "b", "c"]

    def test_that_knows_nothing_of_it_waits(self, archive: AbstractStore) -> None:
        async def main() -> None:
            with archive.transaction():
                archive.from_bytes("a", b"1")
                waiting = asyncio.get_running_loop().run_in_executor(None, archive.from_bytes, "b", b"1")
            await waiting

        asyncio.run(main())

        assert sorted(archive.query_keys()) == ["a", "b"]


class Writing:
    """A file of three chunks that does something before the second one, and may fail after the third."""

    def __init__(self, act: Callable[[], object], error: Exception | None = None) -> None:
        self._chunks = self._parts(act, error)

    def _parts(self, act: Callable[[], object], error: Exception | None) -> Iterator[bytes]:
        yield bytes(MEBIBYTE)
        act()
        yield bytes(MEBIBYTE)
        yield b"end"
        if error is not None:
            raise error

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


def changes(recorder: EventRecorder) -> list[str]:
    return [f"{event.action} {event.key}" for event in recorder.of(StoreModificationEvent)]


class TestAWriteInsideOfAWrite:
    def test_is_told_once_before_the_one_that_it_is_part_of(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        archive.set("outer", (Writing(lambda: archive.from_bytes("inner", b"1")), {}))

        assert changes(recorder) == ["set inner", "set outer"]
        assert sorted(archive.query_keys()) == ["inner", "outer"]

    def test_is_told_only_if_it_is_there(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        with pytest.raises(OSError, match="network"):
            archive.set("outer", (Writing(lambda: archive.from_bytes("inner", b"1"), OSError("network")), {}))

        assert not archive.exists("outer")
        assert changes(recorder) == [f"set {key}" for key in archive.query_keys()]

    def test_is_told_in_order_three_levels_deep(self, archive: AbstractStore, recorder: EventRecorder) -> None:
        def middle() -> None:
            archive.set("middle", (Writing(lambda: archive.from_bytes("inner", b"1")), {}))

        archive.set("outer", (Writing(middle), {}))

        assert changes(recorder) == ["set inner", "set middle", "set outer"]

    def test_is_told_only_if_it_is_there_when_the_middle_one_fails(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        def middle() -> None:
            with pytest.raises(OSError, match="network"):
                archive.set("middle", (Writing(lambda: archive.from_bytes("inner", b"1"), OSError("network")), {}))

        archive.set("outer", (Writing(middle), {}))

        assert not archive.exists("middle")
        assert sorted(changes(recorder)) == [f"set {key}" for key in sorted(archive.query_keys())]
        assert changes(recorder)[-1] == "set outer"

    @pytest.mark.parametrize("fails", [False, True])
    def test_is_held_with_the_transaction_around_both(
        self, archive: AbstractStore, recorder: EventRecorder, fails: bool
    ) -> None:
        def middle() -> None:
            archive.set("middle", (Writing(lambda: archive.from_bytes("inner", b"1")), {}))

        try:
            with archive.transaction():
                archive.set("outer", (Writing(middle), {}))
                assert changes(recorder) == []
                if fails:
                    raise OSError("no")
        except OSError:
            pass

        expected = [] if fails else ["inner", "middle", "outer"]
        assert changes(recorder) == [f"set {key}" for key in expected]
        assert sorted(archive.query_keys()) == expected

    def test_that_failed_inside_a_transaction_is_never_told(
        self, archive: AbstractStore, recorder: EventRecorder
    ) -> None:
        with archive.transaction():
            with pytest.raises(OSError, match="network"):
                archive.set("outer", (Writing(lambda: archive.from_bytes("inner", b"1"), OSError("network")), {}))
            archive.from_bytes("other", b"1")

        assert sorted(changes(recorder)) == [f"set {key}" for key in sorted(archive.query_keys())]
        assert not archive.exists("outer")

    @pytest.mark.usefixtures("every_step")
    @pytest.mark.parametrize("fails", [False, True])
    def test_by_a_listener_of_its_steps_is_told_only_if_it_is_there(
        self, archive: AbstractStore, manager: EventManager, recorder: EventRecorder, fails: bool
    ) -> None:
        def note(event: StoreProgressStepEvent) -> None:
            if event.key == "outer" and event.step > MEBIBYTE:
                archive.from_bytes("note", b"1")

        manager.connect(StoreProgressStepEvent, note)
        answers: list[bytes | BaseException] = [
            bytes(MEBIBYTE),
            bytes(MEBIBYTE),
            *([OSError("network")] if fails else []),
        ]
        try:
            archive.set("outer", (Source(*answers), {}))
        except OSError:
            assert fails

        told = changes(recorder)
        assert {each.split()[1] for each in told} == set(archive.query_keys())
        assert archive.exists("outer") is not fails
        assert told.count("set note") <= 1
        assert fails or told[-1] == "set outer"
