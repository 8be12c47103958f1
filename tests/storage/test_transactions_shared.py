"""Transactions of one store in several threads, asyncio tasks and processes: one at a time, and none sees another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import StoreError, TransactionTimeoutError
from encore_storage.events import (
    StoreModificationEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from encore_storage.metadata import Metadata
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.transactions.contexts import DummyTransactionContext, TransactionState
from encore_storage.transactions.turn import Turn
from tests.storage.support import (
    END,
    LONG,
    SET,
    START,
    RecordingStore,
    Transactional,
    recorded_names,
    set_in_transaction,
)

ROOT = Path(__file__).parents[2]
A_MOMENT = 0.05
"""Seconds in which what must not happen would have happened."""


@pytest.fixture
def store(transactional: Transactional) -> Transactional:
    return transactional


class Elsewhere:
    """A transaction in another thread that has written a key, and goes on when the test says so."""

    def __init__(self, pool: ThreadPoolExecutor, store: Transactional, key: str = "theirs") -> None:
        self._written = threading.Event()
        self._go_on = threading.Event()
        self._store = store
        self._key = key
        self._error: BaseException | None = None
        self._done = pool.submit(self._run)
        assert self._written.wait(LONG)

    def _run(self) -> None:
        with self._store.transaction("elsewhere"):
            self._store.from_bytes(self._key, b"1")
            self._written.set()
            assert self._go_on.wait(LONG)
            if self._error is not None:
                raise self._error

    def end(self, error: BaseException | None = None) -> None:
        """Have it commit, or fail with the error."""
        self._error = error
        self._go_on.set()
        with suppress(*([type(error)] if error else [])):
            self._done.result(LONG)


def assert_still_waits(future: Future[None]) -> None:
    with pytest.raises(TimeoutError):
        future.result(A_MOMENT)


def test_another_thread_waits_for_the_outermost_exit(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    with store.transaction("outer"):
        with store.transaction("inner"):
            store.from_bytes("mine", b"1")
            waiting = pool.submit(set_in_transaction, store, "theirs")
        assert_still_waits(waiting)
    waiting.result(LONG)

    assert [event.notes for event in recorder.of(StoreTransactionStartEvent)] == ["outer", "theirs"]
    assert sorted(recorded_names(recorder)) == sorted([START, END, SET] * 2)
    assert len({event.transaction_id for event in recorder.of(StoreModificationEvent)}) == 2


def test_a_write_without_a_transaction_waits_too(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    with store.transaction():
        store.from_bytes("mine", b"1")
        waiting = pool.submit(store.from_bytes, "theirs", b"1")
        assert_still_waits(waiting)
    waiting.result(LONG)

    ids = {event.key: event.transaction_id for event in recorder.of(StoreModificationEvent)}
    assert ids["theirs"] is None
    assert recorder.one(StoreTransactionEndEvent).held == 1


def test_the_work_of_one_thread_is_never_kept_by_the_commit_of_another(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(OSError, match="disk full"), store.transaction():
        store.from_bytes("mine", b"1")
        waiting = pool.submit(set_in_transaction, store, "theirs")
        raise OSError("disk full")
    waiting.result(LONG)

    assert not store.exists("mine")
    assert store.exists("theirs")
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["theirs"]


def test_the_work_of_one_thread_is_never_undone_by_the_rollback_of_another(
    store: Transactional, pool: ThreadPoolExecutor
) -> None:
    with store.transaction():
        store.from_bytes("mine", b"1")
        waiting = pool.submit(set_in_transaction, store, "theirs", OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        waiting.result(LONG)

    assert store.exists("mine")
    assert not store.exists("theirs")


@pytest.mark.parametrize("error", [None, OSError("disk full")], ids=["commit", "rollback"])
def test_a_reader_in_another_thread_never_sees_what_is_not_committed(
    error: OSError | None, store: Transactional, pool: ThreadPoolExecutor
) -> None:
    elsewhere = Elsewhere(pool, store)
    assert not store.exists("theirs")
    elsewhere.end(error)

    assert store.exists("theirs") is (error is None)


def test_a_reader_in_another_thread_sees_what_was_there_before(
    archive: AbstractStore, pool: ThreadPoolExecutor
) -> None:
    for key in ("replaced", "deleted", "described"):
        archive.set(key, (Bytes(b"old"), {"state": "old"}))

    with archive.transaction():
        archive.from_bytes("replaced", b"new")
        archive.delete("deleted")
        archive.set_metadata("described", {"state": "new"})
        archive.from_bytes("added", b"new")
        mine = snapshot(archive)
        theirs = pool.submit(snapshot, archive).result(LONG)

    old = (b"old", {"state": "old"})
    assert theirs == {"replaced": old, "deleted": old, "described": old}
    assert mine == snapshot(archive)
    assert mine == {
        "replaced": (b"new", {"state": "old"}),
        "described": (b"old", {"state": "new"}),
        "added": (b"new", {}),
    }


def snapshot(store: AbstractStore) -> dict[str, tuple[bytes, Metadata]]:
    """All that is to be seen, by every way to look at it, which must agree."""
    keys = list(store.query_keys())
    queried = dict(store.query())
    values = {key: (store.to_bytes(key), store.get_metadata(key)) for key in keys}
    assert queried == {key: metadata for key, (_, metadata) in values.items()}
    assert all(map(store.exists, keys))
    return values


class Bytes:
    """A file of a few bytes, to be read once."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


def test_waiting_has_an_end_where_the_store_says_so(
    make_transactional: Callable[..., Transactional], recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    store = make_transactional(timeout=A_MOMENT)
    elsewhere = Elsewhere(pool, store)

    with pytest.raises(TransactionTimeoutError, match=r"awaited for 0\.05 s"):
        set_in_transaction(store, "mine")
    with pytest.raises(TransactionTimeoutError):
        store.from_bytes("mine", b"1")
    elsewhere.end()
    set_in_transaction(store, "mine")

    assert store.exists("theirs")
    assert store.exists("mine")
    assert len(recorder.of(StoreTransactionStartEvent)) == 2


def test_the_events_of_other_threads_pass_while_one_is_in_a_transaction(
    manager: EventManager, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    first, second = DictMemoryStore(event_manager=manager), DictMemoryStore(event_manager=manager)
    with first.transaction():
        pool.submit(second.from_bytes, "theirs", b"1").result(LONG)

        assert recorder.one(StoreModificationEvent).key == "theirs"


def test_many_threads_may_use_one_context_one_after_the_other(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    context, together = store.transaction("shared"), threading.Barrier(4)

    def work(thread: int) -> None:
        together.wait(LONG)
        for turn in range(20):
            with suppress(OSError), context:
                store.from_bytes(f"{thread}.{turn}", b"1")
                if turn % 2:
                    raise OSError("disk full")

    list(pool.map(work, range(4)))

    starts = [event.transaction_id for event in recorder.of(StoreTransactionStartEvent)]
    ends = {event.transaction_id: event.outcome for event in recorder.of(StoreTransactionEndEvent)}
    assert len(starts) == len(ends) == 80
    assert set(starts) == set(ends)
    assert sorted(ends.values()) == ["committed"] * 40 + ["rolled_back"] * 40
    changed = {str(event.key) for event in recorder.of(StoreModificationEvent)}
    assert changed == {f"{thread}.{turn}" for thread in range(4) for turn in range(0, 20, 2)}
    assert all(map(store.exists, changed))


def test_an_end_is_told_as_its_own_though_another_thread_waits_to_enter_the_same_context(
    pool: ThreadPoolExecutor,
) -> None:
    begun_again = threading.Event()

    class Slow(EventManager):
        def has_listeners(self, cls: type[BaseEvent]) -> bool:
            if cls is StoreTransactionEndEvent:
                begun_again.wait(A_MOMENT)
            return super().has_listeners(cls)

    manager = Slow()
    store, recorder = RecordingStore(event_manager=manager), EventRecorder(manager)
    context = store.transaction()

    def enter_again() -> None:
        with context:
            begun_again.set()

    with context:
        waiting = pool.submit(enter_again)
    waiting.result(LONG)

    starts, ends = recorder.of(StoreTransactionStartEvent), recorder.of(StoreTransactionEndEvent)
    assert {event.transaction_id for event in starts} == {event.transaction_id for event in ends}
    assert len({event.transaction_id for event in ends}) == 2


def test_threads_that_add_to_one_value_lose_nothing(archive: AbstractStore) -> None:
    archive.from_bytes("total", b"0")
    together = threading.Barrier(4)

    def add() -> None:
        together.wait(LONG)
        for _ in range(10):
            with archive.transaction():
                archive.from_bytes("total", str(int(archive.to_bytes("total")) + 1).encode())

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(add) for _ in range(4)]:
            future.result(LONG)

    assert archive.to_bytes("total") == b"40"


class TestTasks:
    """asyncio tasks of one thread."""

    def test_another_task_is_refused_at_once(self, store: Transactional, recorder: EventRecorder) -> None:
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

    def test_the_same_task_joins_across_its_awaits(self, store: Transactional, recorder: EventRecorder) -> None:
        async def inner() -> None:
            await asyncio.sleep(0)
            set_in_transaction(store, "inner")

        async def main() -> None:
            with store.transaction("outer"):
                await inner()

        asyncio.run(main())

        assert recorded_names(recorder) == [START, END, SET]

    def test_tasks_that_interleave_are_told_apart(self, store: Transactional, recorder: EventRecorder) -> None:
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

    def test_a_task_that_is_cancelled_in_its_transaction_rolls_back(
        self, store: Transactional, recorder: EventRecorder
    ) -> None:
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


class TestTurn:
    """Whose turn it is to write."""

    def test_its_owner_may_enter_again_and_it_is_free_after_the_last_leave(self, pool: ThreadPoolExecutor) -> None:
        turn = Turn("archive", None)
        with turn.taken(), turn.taken():
            assert turn.is_mine
            assert not pool.submit(lambda: turn.is_mine).result(LONG)

        assert turn.mine is None
        with turn.taken():
            assert turn.mine is not None

    def test_no_timeout_at_all_is_refused_at_once(self, pool: ThreadPoolExecutor) -> None:
        turn = Turn("archive", 0)
        with turn.taken(), pytest.raises(TransactionTimeoutError, match="'archive'"):
            pool.submit(turn.taken().__enter__).result(LONG)

    def test_two_first_users_make_one_state(self, manager: EventManager, pool: ThreadPoolExecutor) -> None:
        store, together = RecordingStore(event_manager=manager), threading.Barrier(8)

        def state() -> TransactionState:
            together.wait(LONG)
            return TransactionState.of(store)

        states = [pool.submit(state) for _ in range(8)]
        assert len({id(future.result(LONG)) for future in states}) == 1

    def test_two_first_users_make_one_dummy(self, manager: EventManager, pool: ThreadPoolExecutor) -> None:
        store, together = RecordingStore(event_manager=manager), threading.Barrier(8)

        def dummy() -> DummyTransactionContext:
            together.wait(LONG)
            return DummyTransactionContext(store)

        dummies = [pool.submit(dummy) for _ in range(8)]
        assert len({id(future.result(LONG)) for future in dummies}) == 1


def test_a_store_is_not_disconnected_inside_a_transaction(archive: AbstractStore, pool: ThreadPoolExecutor) -> None:
    with archive.transaction():
        with pytest.raises(StoreError, match="inside its own transaction"):
            archive.disconnect()
        archive.from_bytes("mine", b"1")
        waiting = pool.submit(archive.disconnect)
        assert_still_waits(waiting)
    waiting.result(LONG)

    assert not archive.is_connected()


FORKED = """
import os, threading
from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreModificationEvent, StoreTransactionEndEvent
from encore_storage.stores import DictMemoryStore

manager = EventManager()
store = DictMemoryStore(event_manager=manager)
store.from_bytes("before", b"old")
written, go_on = threading.Event(), threading.Event()

def hold_it():
    with store.transaction():
        store.from_bytes("before", b"new")
        store.from_bytes("theirs", b"1")
        written.set()
        go_on.wait()

thread = threading.Thread(target=hold_it)
thread.start()
written.wait()
child = os.fork()
if not child:
    assert sorted(store.query_keys()) == ["before"]
    assert store.to_bytes("before") == b"old"
    recorder = EventRecorder(manager)
    {work}
    assert store.exists("mine")
    assert store.to_bytes("before") == b"old"
    assert not store.exists("theirs")
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["mine"]
    raise SystemExit(42)
go_on.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
assert store.to_bytes("before") == b"new"
assert store.exists("theirs")
assert not store.exists("mine")
"""

FORKED_INSIDE = """
import os
from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import StoreError
from encore_storage.stores import DictMemoryStore

def refused(call):
    try:
        call()
    except StoreError as error:
        return str(os.getppid()) in str(error) and "forked" in str(error)

manager = EventManager()
store = DictMemoryStore(event_manager=manager)
store.from_bytes("before", b"0")
recorder = EventRecorder(manager)
child = -1

def block():
    global child
    with store.transaction():
        store.from_bytes("a", b"1")
        child = os.fork()
        if not child:
            recorder.clear()
            assert list(store.query_keys()) == ["before"]
            assert refused(lambda: store.from_bytes("a", b"2"))
            assert refused(lambda: store.transaction().__enter__())
            assert refused(lambda: store.delete("before"))

was_refused = refused(block)
assert bool(was_refused) == (not child)
with store.transaction():
    store.from_bytes("b", b"2")
there = sorted(store.query_keys())
if child:
    assert there == ["a", "b", "before"]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    assert there == ["b", "before"]
    ends = [event.outcome for event in recorder.events if "TransactionEnd" in type(event).__name__]
    assert ends == ["committed"]
"""


def run(script: str) -> None:
    """Run a script in a process of its own, where a deadlock is a failure and not a hang."""
    command = [sys.executable, "-X", "faulthandler", "-c", script]
    done = subprocess.run(command, cwd=ROOT, timeout=LONG, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "work",
    ['with store.transaction(): store.from_bytes("mine", b"1")', 'store.from_bytes("mine", b"1")'],
    ids=["a transaction", "a write"],
)
def test_a_child_forked_while_a_thread_is_in_a_transaction_has_what_was_committed_and_can_go_on(work: str) -> None:
    run(FORKED.format(work=work))


def test_a_child_forked_inside_a_transaction_is_refused_until_it_has_left_the_block() -> None:
    run(FORKED_INSIDE)


def test_two_transactions_never_overlap(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    inside: list[int] = []
    together = threading.Barrier(8)

    def work(thread: int) -> int:
        together.wait(LONG)
        with store.transaction():
            inside.append(thread)
            store.from_bytes(str(thread), b"1")
            most = len(inside)
            inside.remove(thread)
        return most

    assert [future.result(LONG) for future in [pool.submit(work, thread) for thread in range(8)]] == [1] * 8
    assert len({event.transaction_id for event in recorder.of(StoreTransactionEvent)}) == 8
