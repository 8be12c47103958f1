"""The contract of threads: they never see a mixture of two values, and lose no change."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import ConflictError, KeyNotFoundError
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.calls import Call
from encore_storage.testing.kit import SlowSource, assert_still_waits, put, run_together
from encore_storage.value import Entry

THREADS = 8
ROUNDS = 25
WRITES: dict[str, Call] = {
    "set": lambda store: put(store, "a", b"2"),
    "set_metadata": lambda store: store.set_metadata("a", {"n": 2}),
    "delete": lambda store: store.delete("a"),
}


def stamped(stamp: str) -> bytes:
    """Return a value that repeats its own stamp, so that a mixture of two shows."""
    return f"{stamp};".encode() * 3000


def check_stamp(data: bytes, stamp: str | None = None) -> None:
    """Check that the bytes are one stamped value, and the one of `stamp`."""
    found = data.partition(b";")[0].decode()
    assert data == stamped(found)
    assert stamp in (None, found)


class ThreadContract(ContractBase):
    """The rules of a store that several threads use."""

    def test_threads_never_see_a_mixture(self, store: AbstractStore, pool: Executor) -> None:
        """Threads that set, read and delete the same keys see whole values, each with its own metadata."""

        def work(thread: int) -> None:
            chance = random.Random(thread)
            for turn in range(ROUNDS):
                key, stamp = f"key {chance.randrange(3)}", f"{thread}.{turn}"
                with suppress(KeyNotFoundError, ConflictError):
                    match chance.randrange(6):
                        case 0 | 1:
                            put(store, key, stamped(stamp), {"stamp": stamp})
                        case 2:
                            check_stamp(store.to_bytes(key))
                        case 3:
                            with store.get(key) as value:
                                check_stamp(value.data.read(-1), value.metadata["stamp"])
                        case 4:
                            assert all("stamp" in metadata for _, metadata in store.query())
                        case _:
                            store.delete(key)

        run_together(pool, [partial(work, thread) for thread in range(THREADS)], self.patience)

        for key, metadata in store.query():
            check_stamp(store.to_bytes(key), metadata["stamp"])

    def test_changes_of_threads_are_emitted_once(
        self, store: AbstractStore, recorder: EventRecorder, pool: Executor
    ) -> None:
        """Each change that threads make at the same time is emitted once, as a set only if the key was new."""

        def work(thread: int) -> None:
            for turn in range(5):
                put(store, f"{thread}.{turn}", b"1")
                put(store, "shared", str(thread).encode())
                store.delete(f"{thread}.{turn}")

        run_together(pool, [partial(work, thread) for thread in range(THREADS)], self.patience)

        actions = [event.action for event in recorder.of(StoreModificationEvent)]
        assert {action: actions.count(action) for action in set(actions)} == {"set": 41, "update": 39, "delete": 40}
        assert len(recorder.of(StoreProgressStartEvent)) == len(recorder.of(StoreProgressEndEvent)) == 120
        assert list(store.query_keys()) == ["shared"]

    def test_metadata_updates_of_threads_are_all_kept(self, store: AbstractStore, pool: Executor) -> None:
        """Threads that update different items of one key's metadata lose none of them."""
        store.from_bytes("a", b"1")

        def work(thread: int) -> None:
            for turn in range(5):
                store.update_metadata("a", {f"{thread}.{turn}": turn})

        run_together(pool, [partial(work, thread) for thread in range(THREADS)], self.patience)

        assert len(store.get_metadata("a")) == 5 * THREADS

    def test_bytes_and_metadata_set_by_two_threads_are_both_kept(self, store: AbstractStore, pool: Executor) -> None:
        """One thread sets the bytes of a key and another its metadata: the last of each is kept."""
        put(store, "a", stamped("old"), {"n": -1})

        def set_data() -> None:
            for turn in range(10):
                store.from_bytes("a", stamped(str(turn)))

        def set_metadata() -> None:
            for turn in range(10):
                store.set_metadata("a", {"n": turn})

        run_together(pool, [set_data, set_metadata], self.patience)

        check_stamp(store.to_bytes("a"), "9")
        assert store.get_metadata("a") == {"n": 9}

    def test_key_is_deleted_by_one_thread_only(self, store: AbstractStore, pool: Executor) -> None:
        """Of the threads that delete a key at the same time, all but one get KeyNotFoundError."""
        deleted = []

        def work() -> None:
            for turn in range(5):
                with suppress(KeyNotFoundError):
                    store.delete(f"{turn}")
                    deleted.append(turn)

        for turn in range(5):
            store.from_bytes(f"{turn}", b"1")
        run_together(pool, [work] * THREADS, self.patience)

        assert sorted(deleted) == [0, 1, 2, 3, 4]

    def test_stream_can_be_read_by_another_thread(self, store: AbstractStore, pool: Executor) -> None:
        """A stream may be read by another thread than the one that opened it."""
        put(store, "a", stamped("old"))
        with store.get_data("a") as data:
            head = data.read(10)
            check_stamp(head + pool.submit(data.read).result(self.patience))

    def test_threads_write_one_file_whole(self, store: AbstractStore, pool: Executor, tmp_path: Path) -> None:
        """Threads that write values to the same file leave one of them there, whole."""
        path = tmp_path / "file"
        for thread in range(THREADS):
            store.from_bytes(f"{thread}", stamped(f"{thread}"))

        jobs = [partial(store.to_file, f"{thread}", path, 1000) for thread in range(THREADS)]
        run_together(pool, jobs, self.patience)

        check_stamp(path.read_bytes())

    def test_set_that_waits_for_its_source_blocks_no_reader(self, store: AbstractStore, pool: Executor) -> None:
        """While a set waits for its source, other threads read the old value."""
        put(store, "a", b"old")
        source = SlowSource(self.patience)
        writing = pool.submit(store.set_data, "a", source)
        assert source.is_reading.wait(self.patience)
        try:
            assert pool.submit(store.to_bytes, "a").result(self.patience) == b"old"
            assert pool.submit(lambda: list(store.query_keys())).result(self.patience) == ["a"]
        finally:
            source.may_go_on.set()
        writing.result(self.patience)

        assert store.to_bytes("a") == b"new"

    def test_set_that_waits_for_its_source_blocks_no_writer(self, store: AbstractStore, pool: Executor) -> None:
        """While a set waits for its source, other threads write: sources are read outside of `_writing()`."""
        source = SlowSource(2 * self.patience)
        writing = pool.submit(store.set_data, "a", source)
        assert source.is_reading.wait(self.patience)
        try:
            pool.submit(store.from_bytes, "b", b"1").result(self.patience)
            pool.submit(store.update_metadata, "b", {"n": 1}).result(self.patience)
        finally:
            source.may_go_on.set()
        writing.result(self.patience)

        assert store.to_bytes("a") == b"new"
        assert store.get_metadata("b") == {"n": 1}

    @pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
    def test_no_write_comes_between_the_steps_of_an_update(
        self, call: Call, store: AbstractStore, pool: Executor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A write of another thread waits while `update_metadata` is between its look-up and its write."""
        put(store, "a", b"1", {"n": 1})
        has_looked_up, may_go_on = threading.Event(), threading.Event()
        lookup = store._lookup  # noqa: SLF001 (what the test interrupts)

        def slow(key: str) -> Entry:
            entry = lookup(key)
            if not has_looked_up.is_set():
                has_looked_up.set()
                assert may_go_on.wait(self.patience)
            return entry

        monkeypatch.setattr(store, "_lookup", slow)
        updating = pool.submit(store.update_metadata, "a", {"m": 2})
        assert has_looked_up.wait(self.patience)
        try:
            waiting = pool.submit(call, store)
            assert_still_waits(waiting)
        finally:
            may_go_on.set()
        updating.result(self.patience)
        waiting.result(self.patience)

    @pytest.mark.parametrize("call", ["read", "close"])
    def test_open_stream_blocks_no_writer(self, call: str, store: AbstractStore, pool: Executor) -> None:
        """While a stream is open, other threads can write its key and others."""
        put(store, "a", b"old" * 1_000_000)
        data = store.get_data("a")
        data.read(10)

        pool.submit(store.from_bytes, "a", b"new").result(self.patience)
        pool.submit(store.from_bytes, "b", b"new").result(self.patience)
        with suppress(ConflictError):
            getattr(data, call)()
        data.close()

        assert store.to_bytes("a") == store.to_bytes("b") == b"new"
