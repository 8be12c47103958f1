"""Writing: what a source does meanwhile, what fails in the middle, and who waits for whom."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import (
    StoreConnectionError,
    StoreFullError,
    TransactionAbortedError,
    TransactionError,
    TransactionTimeoutError,
)
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import MEBIBYTE, Meddling, fail, rows_left, store_at
from tests.storage.support import LONG

MEDDLED = bytes(MEBIBYTE) + b"end"


def limit(store: SqliteStore, pages: int) -> None:
    """Leave room for that many more pages of 16 KiB, as a full disk would; for the connection that writes."""
    with store.transaction():
        [(used,)] = store._select("PRAGMA page_count")
    store._opened._writer.run(f"PRAGMA max_page_count = {used + pages}")


@pytest.mark.parametrize("error", [OSError("stop"), KeyboardInterrupt()])
def test_a_source_that_fails_in_mid_stream_leaves_the_old_value(
    store: SqliteStore, path: Path, error: BaseException
) -> None:
    store.from_bytes("a", b"old")

    with pytest.raises(type(error)):
        store.set("a", (Meddling(fail(error)), {"kind": "new"}))

    assert (store.to_bytes("a"), store.get_metadata("a")) == (b"old", {})
    assert rows_left(path) == 1


@pytest.mark.parametrize("error", [OSError("stop"), KeyboardInterrupt()])
def test_a_source_that_fails_inside_a_transaction_leaves_what_that_wrote_before(
    store: SqliteStore, path: Path, error: BaseException
) -> None:
    with store.transaction():
        store.from_bytes("a", b"old")
        with pytest.raises(type(error)):
            store.set("a", (Meddling(fail(error)), {"kind": "new"}))
        store.from_bytes("b", b"after")

    assert (store.to_bytes("a"), store.get_metadata("a"), store.to_bytes("b")) == (b"old", {}, b"after")
    assert rows_left(path) == 2


def test_a_small_value_has_its_source_read_before_anyone_waits(
    either: SqliteStore, elsewhere: ThreadPoolExecutor
) -> None:
    class Waiting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            elsewhere.submit(either.from_bytes, "b", b"2").result(LONG)
            return super().read(size)

    either.set("a", (Waiting(b"1"), {}))

    assert (either.to_bytes("a"), either.to_bytes("b")) == (b"1", b"2")


def test_a_source_may_read_from_the_store(either: SqliteStore) -> None:
    either.from_bytes("a", b"old")
    seen = []

    either.set("a", (Meddling(lambda: seen.append((either.to_bytes("a"), list(either.query_keys())))), {}))

    assert seen == [(b"old", ["a"])]
    assert either.to_bytes("a") == MEDDLED


@pytest.mark.parametrize("key", ["a", "b"])
def test_a_source_may_write_to_the_store(either: SqliteStore, key: str) -> None:
    either.set("a", (Meddling(lambda: either.from_bytes(key, b"meddled")), {}))

    assert either.to_bytes("a") == MEDDLED
    assert either.to_bytes(key) == (MEDDLED if key == "a" else b"meddled")
    assert either._select("SELECT count(*) FROM chunk") == [(2 if key == "a" else 3,)]


def test_a_source_that_writes_and_then_fails_leaves_all_as_it_was(either: SqliteStore) -> None:
    def write_and_fail() -> None:
        either.from_bytes("b", b"meddled")
        raise OSError("stop")

    with pytest.raises(OSError, match="stop"):
        either.set("a", (Meddling(write_and_fail), {}))

    assert list(either.query_keys()) == []


def test_a_source_whose_write_fails_and_who_goes_on_has_its_value_kept(either: SqliteStore) -> None:
    def fail_to_write() -> None:
        with pytest.raises(OSError, match="stop"):
            either.set("b", (Meddling(fail(OSError("stop"))), {}))

    either.set("a", (Meddling(fail_to_write), {}))

    assert list(either.query_keys()) == ["a"]
    assert either.to_bytes("a") == MEDDLED


def test_no_transaction_begins_in_a_source_outside_of_one(either: SqliteStore) -> None:
    def begin() -> None:
        with pytest.raises(TransactionError, match="cannot begin a transaction while a value for store 'archive'"):
            either.transaction().__enter__()

    either.set("a", (Meddling(begin), {}))

    assert either.to_bytes("a") == MEDDLED
    with either.transaction():
        either.from_bytes("b", b"1")


def test_a_transaction_in_a_source_joins_the_one_around_the_set(either: SqliteStore) -> None:
    def write() -> None:
        with either.transaction():
            either.from_bytes("b", b"1")

    with either.transaction():
        either.set("a", (Meddling(write), {}))

    assert either.to_bytes("a") == MEDDLED
    assert either.to_bytes("b") == b"1"


def test_a_source_that_disconnects_the_store_has_its_value_refused(store: SqliteStore) -> None:
    with pytest.raises(StoreConnectionError, match="is disconnected"):
        store.set("a", (Meddling(store.disconnect), {}))

    store.connect()
    assert list(store.query_keys()) == []


def test_other_threads_read_what_is_committed_and_do_not_wait(
    either: SqliteStore, elsewhere: ThreadPoolExecutor
) -> None:
    either.from_bytes("a", b"old")
    either.from_bytes("gone", MEDDLED)

    def read() -> tuple[bytes, bytes, list[str], bool]:
        return either.to_bytes("a"), either.to_bytes("gone"), list(either.query_keys()), either.exists("b")

    def read_elsewhere() -> tuple[bytes, bytes, list[str], bool]:
        return elsewhere.submit(read).result(LONG)

    before, during = read(), []
    with either.transaction():
        either.from_bytes("a", b"new")
        either.delete("gone")
        during.append(read_elsewhere())
        either.set("b", (Meddling(lambda: during.append(read_elsewhere())), {}))
        during.append(read_elsewhere())

    assert during == [before] * 3
    assert elsewhere.submit(either.to_bytes, "a").result(LONG) == b"new"


def test_another_connection_that_writes_is_waited_for(
    store: SqliteStore, path: Path, elsewhere: ThreadPoolExecutor
) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    written = elsewhere.submit(store.from_bytes, "a", b"1")
    with pytest.raises(TimeoutError):
        written.result(0.5)  # longer than SQLite waits by itself
    other.execute("COMMIT")
    other.close()

    written.result(LONG)
    assert store.to_bytes("a") == b"1"


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_another_connection_that_goes_on_writing_is_given_up_in_time(path: Path, timeout: float) -> None:
    with store_at(path, name="archive", timeout=timeout) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(TransactionTimeoutError, match=f"another process is writing to .* awaited for {timeout} s"):
            store.from_bytes("a", b"1")
        with pytest.raises(TransactionTimeoutError):
            store.transaction().__enter__()
        found = store.exists("a")
        other.close()
        store.from_bytes("a", b"1")

    assert not found


def test_a_full_database_leaves_all_as_it_was_and_goes_on(either: SqliteStore) -> None:
    either.from_bytes("a", b"old")
    limit(either, 4)

    with pytest.raises(StoreFullError, match=r"store 'archive' has no room left in .*: make room") as raised:
        either.from_bytes("a", bytes(MEBIBYTE))

    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert either.to_bytes("a") == b"old"
    either.from_bytes("a", b"small")
    assert either.to_bytes("a") == b"small"


def test_a_transaction_that_a_full_database_has_ended_keeps_nothing(either: SqliteStore) -> None:
    """SQLite rolls back by itself then: what follows in the block must not be kept alone."""
    either.from_bytes("a", b"old")
    limit(either, 4)
    recorder = EventRecorder(either.event_manager)

    with pytest.raises(TransactionAbortedError), either.transaction():
        either.from_bytes("a", b"new")
        with pytest.raises(StoreFullError):
            either.from_bytes("b", bytes(MEBIBYTE))
        with pytest.raises(TransactionAbortedError):
            either.from_bytes("c", b"1")

    assert list(either.query_keys()) == ["a"]
    assert either.to_bytes("a") == b"old"
    assert recorder.one(StoreTransactionEndEvent).outcome == "commit_failed"
    with either.transaction():
        either.from_bytes("c", b"1")


def test_a_source_that_fills_the_database_and_goes_on_has_its_value_refused(store: SqliteStore, path: Path) -> None:
    store.from_bytes("a", b"old")
    limit(store, 80)

    def fill() -> None:
        with pytest.raises(StoreFullError):
            store.from_bytes("b", bytes(MEBIBYTE))

    with pytest.raises(TransactionAbortedError):
        store.set("a", (Meddling(fill), {}))

    assert store.to_bytes("a") == b"old"
    assert rows_left(path) == 1


def test_what_an_interrupt_has_left_is_undone_by_the_next_write(either: SqliteStore) -> None:
    either._opened._writer.run("BEGIN IMMEDIATE")
    either._opened._writer.run("REPLACE INTO entry VALUES ('left', '{}', 0, 0.0, 0.0, 1)")

    either.from_bytes("a", b"1")

    assert list(either.query_keys()) == ["a"]


@pytest.mark.parametrize("after", [True, False])
def test_an_interrupt_of_the_commit_is_told_as_what_became_of_it(
    either: SqliteStore, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    recorder = EventRecorder(either.event_manager)
    commit = either._opened.commit

    def interrupted() -> None:
        if after:
            commit()
        raise KeyboardInterrupt

    monkeypatch.setattr(either._opened, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt), either.transaction():
        either.from_bytes("a", b"1")
    monkeypatch.undo()

    assert either.exists("a") is after
    assert recorder.one(StoreTransactionEndEvent).outcome == ("committed" if after else "commit_failed")
    with either.transaction():
        either.from_bytes("b", b"1")


def test_a_begin_that_is_interrupted_leaves_nothing_behind(
    either: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin: Callable[[], None] = either._opened._begin

    def interrupted() -> None:
        begin()
        raise KeyboardInterrupt

    monkeypatch.setattr(either._opened, "_begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        either.transaction().__enter__()
    monkeypatch.undo()

    assert not either._in_transaction()
    either.from_bytes("a", b"1")
    assert either.exists("a")


def test_threads_that_write_through_two_stores_lose_nothing(store: SqliteStore, path: Path) -> None:
    with store_at(path) as other, ThreadPoolExecutor(4) as pool:

        def count(number: int) -> None:
            mine = (store, other)[number % 2]
            for _ in range(20):
                with mine.transaction():
                    counted = mine.get_metadata("count")["count"]
                    mine.set_metadata("count", {"count": counted + 1})

        store.set_metadata("count", {"count": 0})
        list(pool.map(count, range(4)))

    assert store.get_metadata("count") == {"count": 80}


def test_a_thread_that_waited_while_the_store_was_disconnected_is_told_so(
    store: SqliteStore, elsewhere: ThreadPoolExecutor
) -> None:
    read = Event()

    class Reporting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.set()
            return super().read(size)

    def disconnect() -> None:
        waiting.append(elsewhere.submit(store.set, "b", (Reporting(b"1"), {})))
        assert read.wait(LONG)
        store.disconnect()

    waiting: list[Future[None]] = []
    with pytest.raises(StoreConnectionError):
        store.set("a", (Meddling(disconnect), {}))

    with pytest.raises(StoreConnectionError, match="store 'archive' is disconnected"):
        waiting[0].result(LONG)
