"""Transactions of one store in several threads: one at a time, isolated from each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

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
from tests.storage.transactions.support import BRIEF, OtherThread, assert_waits


def test_transaction_waits_for_outermost_exit_in_other_thread(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    with store.transaction("outer"):
        with store.transaction("inner"):
            store.from_bytes("mine", b"1")
            waiting = pool.submit(set_in_transaction, store, "theirs")
        assert_waits(waiting)
    waiting.result(LONG)

    assert [event.notes for event in recorder.of(StoreTransactionStartEvent)] == ["outer", "theirs"]
    assert sorted(recorded_names(recorder)) == sorted([START, END, SET] * 2)
    assert len({event.transaction_id for event in recorder.of(StoreModificationEvent)}) == 2


def test_write_waits_for_transaction_of_other_thread(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    with store.transaction():
        store.from_bytes("mine", b"1")
        waiting = pool.submit(store.from_bytes, "theirs", b"1")
        assert_waits(waiting)
    waiting.result(LONG)

    ids = {event.key: event.transaction_id for event in recorder.of(StoreModificationEvent)}
    assert ids["theirs"] is None
    assert recorder.one(StoreTransactionEndEvent).held == 1


def test_rollback_keeps_work_of_other_thread(
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


def test_rollback_in_other_thread_keeps_own_work(store: Transactional, pool: ThreadPoolExecutor) -> None:
    with store.transaction():
        store.from_bytes("mine", b"1")
        waiting = pool.submit(set_in_transaction, store, "theirs", OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        waiting.result(LONG)

    assert store.exists("mine")
    assert not store.exists("theirs")


@pytest.mark.parametrize("error", [None, OSError("disk full")], ids=["commit", "rollback"])
def test_reader_does_not_see_uncommitted_write_of_other_thread(
    error: OSError | None, store: Transactional, pool: ThreadPoolExecutor
) -> None:
    other = OtherThread(pool, store)
    assert not store.exists("theirs")
    other.end(error)

    assert store.exists("theirs") is (error is None)


def test_reader_in_other_thread_sees_previous_values(archive: AbstractStore, pool: ThreadPoolExecutor) -> None:
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


def test_waiting_thread_raises_after_timeout_of_store(
    make_transactional: Callable[..., Transactional], recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    store = make_transactional(timeout=BRIEF)
    other = OtherThread(pool, store)

    with pytest.raises(TransactionTimeoutError, match=r"did not end within 0\.05 s"):
        set_in_transaction(store, "mine")
    with pytest.raises(TransactionTimeoutError):
        store.from_bytes("mine", b"1")
    other.end()
    set_in_transaction(store, "mine")

    assert store.exists("theirs")
    assert store.exists("mine")
    assert len(recorder.of(StoreTransactionStartEvent)) == 2


def test_events_of_other_threads_are_not_held(
    manager: EventManager, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    first, second = DictMemoryStore(event_manager=manager), DictMemoryStore(event_manager=manager)
    with first.transaction():
        pool.submit(second.from_bytes, "theirs", b"1").result(LONG)

        assert recorder.one(StoreModificationEvent).key == "theirs"


def test_threads_may_share_one_context(store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor) -> None:
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


def test_end_has_its_own_id_while_other_thread_enters_same_context(pool: ThreadPoolExecutor) -> None:
    reentered = threading.Event()

    class Slow(EventManager):
        def has_listeners(self, cls: type[BaseEvent]) -> bool:
            if cls is StoreTransactionEndEvent:
                reentered.wait(BRIEF)
            return super().has_listeners(cls)

    manager = Slow()
    store, recorder = RecordingStore(event_manager=manager), EventRecorder(manager)
    context = store.transaction()

    def reenter() -> None:
        with context:
            reentered.set()

    with context:
        waiting = pool.submit(reenter)
    waiting.result(LONG)

    starts, ends = recorder.of(StoreTransactionStartEvent), recorder.of(StoreTransactionEndEvent)
    assert {event.transaction_id for event in starts} == {event.transaction_id for event in ends}
    assert len({event.transaction_id for event in ends}) == 2


def test_threads_incrementing_one_value_lose_nothing(archive: AbstractStore) -> None:
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


def test_transactions_never_overlap(store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor) -> None:
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


def snapshot(store: AbstractStore) -> dict[str, tuple[bytes, Metadata]]:
    """Return all values and metadata, and assert that every method of reading agrees."""
    keys = list(store.query_keys())
    queried = dict(store.query())
    values = {key: (store.to_bytes(key), store.get_metadata(key)) for key in keys}
    assert queried == {key: metadata for key, (_, metadata) in values.items()}
    assert all(map(store.exists, keys))
    return values


class Bytes:
    """A minimal file that can be read once."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


def test_disconnect_inside_transaction_raises(archive: AbstractStore, pool: ThreadPoolExecutor) -> None:
    with archive.transaction():
        with pytest.raises(StoreError, match="inside its transaction"):
            archive.disconnect()
        archive.from_bytes("mine", b"1")
        waiting = pool.submit(archive.disconnect)
        assert_waits(waiting)
    waiting.result(LONG)

    assert not archive.is_connected()
