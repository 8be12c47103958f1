"""What holds for a store that several threads use: never a mixture of two values, and nothing lost."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import ConflictError, KeyNotFoundError
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.stores.abstract import AbstractStore
from tests.storage.support import LONG, put

THREADS = 8
TURNS = 25


def stamped(stamp: str) -> bytes:
    """A value that says itself what it is, over and over: a mixture would show."""
    return f"{stamp};".encode() * 3000


def check(data: bytes, stamp: str | None = None) -> None:
    """That it is one value, whole; and the one of that stamp, if there is one."""
    found = data.partition(b";")[0].decode()
    assert data == stamped(found)
    assert stamp in (None, found)


def run_together(pool: ThreadPoolExecutor, work: list[object]) -> None:
    together = threading.Barrier(len(work))

    def start(job: object) -> None:
        together.wait(LONG)
        assert callable(job)
        job()

    for future in [pool.submit(start, job) for job in work]:
        future.result(LONG)


def test_threads_that_set_get_and_delete_the_same_keys_never_see_a_mixture(
    store: AbstractStore, pool: ThreadPoolExecutor
) -> None:
    def work(thread: int) -> None:
        chance = random.Random(thread)
        for turn in range(TURNS):
            key, stamp = f"key {chance.randrange(3)}", f"{thread}.{turn}"
            try:
                match chance.randrange(6):
                    case 0 | 1:
                        put(store, key, stamped(stamp), {"stamp": stamp})
                    case 2:
                        check(store.to_bytes(key))
                    case 3:
                        with store.get(key) as value:
                            check(value.data.read(-1), value.metadata["stamp"])
                    case 4:
                        assert all("stamp" in metadata for _, metadata in store.query())
                    case _:
                        store.delete(key)
            except (KeyNotFoundError, ConflictError):
                continue

    run_together(pool, [lambda thread=thread: work(thread) for thread in range(THREADS)])

    for key, metadata in store.query():
        check(store.to_bytes(key), metadata["stamp"])


def test_every_change_that_threads_make_is_told_once(
    store: AbstractStore, recorder: EventRecorder, pool: ThreadPoolExecutor
) -> None:
    def work(thread: int) -> None:
        for turn in range(5):
            put(store, f"{thread}.{turn}", b"1")
            put(store, "shared", str(thread).encode())
            store.delete(f"{thread}.{turn}")

    run_together(pool, [lambda thread=thread: work(thread) for thread in range(THREADS)])

    actions = [event.action for event in recorder.of(StoreModificationEvent)]
    assert {action: actions.count(action) for action in set(actions)} == {"set": 41, "update": 39, "delete": 40}
    assert len(recorder.of(StoreProgressStartEvent)) == len(recorder.of(StoreProgressEndEvent)) == 120
    assert list(store.query_keys()) == ["shared"]


def test_threads_that_update_the_metadata_of_one_key_lose_nothing(
    store: AbstractStore, pool: ThreadPoolExecutor
) -> None:
    store.from_bytes("a", b"1")

    def work(thread: int) -> None:
        for turn in range(5):
            store.update_metadata("a", {f"{thread}.{turn}": turn})

    run_together(pool, [lambda thread=thread: work(thread) for thread in range(THREADS)])

    assert len(store.get_metadata("a")) == 5 * THREADS


def test_threads_that_set_bytes_and_metadata_keep_both(store: AbstractStore, pool: ThreadPoolExecutor) -> None:
    put(store, "a", stamped("old"), {"n": -1})

    def set_data() -> None:
        for turn in range(10):
            store.from_bytes("a", stamped(str(turn)))

    def set_metadata() -> None:
        for turn in range(10):
            store.set_metadata("a", {"n": turn})

    run_together(pool, [set_data, set_metadata])

    check(store.to_bytes("a"), "9")
    assert store.get_metadata("a") == {"n": 9}


def test_one_thread_of_many_deletes_a_key(store: AbstractStore, pool: ThreadPoolExecutor) -> None:
    deleted = []

    def work() -> None:
        for turn in range(5):
            try:
                store.delete(f"{turn}")
                deleted.append(turn)
            except KeyNotFoundError:
                continue

    for turn in range(5):
        store.from_bytes(f"{turn}", b"1")
    run_together(pool, [work] * THREADS)

    assert sorted(deleted) == [0, 1, 2, 3, 4]


def test_a_value_may_be_read_in_another_thread_than_it_was_opened_in(
    store: AbstractStore, pool: ThreadPoolExecutor
) -> None:
    put(store, "a", stamped("old"))
    with store.get_data("a") as data:
        head = data.read(10)
        check(head + pool.submit(data.read).result(LONG))


def test_threads_that_write_one_file_each_write_it_whole(
    store: AbstractStore, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    for thread in range(THREADS):
        store.from_bytes(f"{thread}", stamped(f"{thread}"))

    run_together(pool, [lambda key=f"{thread}": store.to_file(key, path, 1000) for thread in range(THREADS)])

    check(path.read_bytes())


def test_a_set_that_waits_for_its_source_keeps_no_reader_waiting(
    store: AbstractStore, pool: ThreadPoolExecutor
) -> None:
    put(store, "a", b"old")
    reading, go_on = threading.Event(), threading.Event()

    class Slow:
        def read(self, size: int, /) -> bytes:
            if reading.is_set():
                return b""
            reading.set()
            assert go_on.wait(LONG)
            return b"new"

    writing = pool.submit(store.set_data, "a", Slow())
    assert reading.wait(LONG)
    assert pool.submit(store.to_bytes, "a").result(LONG) == b"old"
    assert pool.submit(lambda: list(store.query_keys())).result(LONG) == ["a"]
    go_on.set()
    writing.result(LONG)

    assert store.to_bytes("a") == b"new"


@pytest.mark.parametrize("call", ["read", "close"])
def test_a_stream_that_is_open_keeps_no_writer_waiting(
    call: str, store: AbstractStore, pool: ThreadPoolExecutor
) -> None:
    put(store, "a", b"old" * 1_000_000)
    data = store.get_data("a")
    data.read(10)

    pool.submit(store.from_bytes, "a", b"new").result(LONG)
    pool.submit(store.from_bytes, "b", b"new").result(LONG)
    with suppress(ConflictError):
        getattr(data, call)()
    data.close()

    assert store.to_bytes("a") == store.to_bytes("b") == b"new"
