"""Tests of writes to SqliteStore: actions of sources, failures, and waiting."""

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
from tests.storage.sqlite.support import MEBIBYTE, ActingSource, count_chunks, fail, store_at
from tests.storage.support import LONG

ACTED = bytes(MEBIBYTE) + b"end"


def limit(store: SqliteStore, pages: int) -> None:
    """Let the database grow by at most this many pages of 16 KiB, as a full disk would."""
    with store.transaction():
        [(used,)] = store._select("PRAGMA page_count")
    store._opened._writer.run(f"PRAGMA max_page_count = {used + pages}")


@pytest.mark.parametrize("error", [OSError("stop"), KeyboardInterrupt()])
def test_failing_source_keeps_the_old_value(store: SqliteStore, path: Path, error: BaseException) -> None:
    store.from_bytes("a", b"old")

    with pytest.raises(type(error)):
        store.set("a", (ActingSource(fail(error)), {"kind": "new"}))

    assert (store.to_bytes("a"), store.get_metadata("a")) == (b"old", {})
    assert count_chunks(path) == 1


@pytest.mark.parametrize("error", [OSError("stop"), KeyboardInterrupt()])
def test_failing_source_keeps_earlier_writes_of_the_transaction(
    store: SqliteStore, path: Path, error: BaseException
) -> None:
    with store.transaction():
        store.from_bytes("a", b"old")
        with pytest.raises(type(error)):
            store.set("a", (ActingSource(fail(error)), {"kind": "new"}))
        store.from_bytes("b", b"after")

    assert (store.to_bytes("a"), store.get_metadata("a"), store.to_bytes("b")) == (b"old", {}, b"after")
    assert count_chunks(path) == 2


def test_source_of_a_small_value_is_read_before_others_wait(
    either: SqliteStore, other_thread: ThreadPoolExecutor
) -> None:
    class Waiting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            other_thread.submit(either.from_bytes, "b", b"2").result(LONG)
            return super().read(size)

    either.set("a", (Waiting(b"1"), {}))

    assert (either.to_bytes("a"), either.to_bytes("b")) == (b"1", b"2")


def test_source_may_read_from_the_store(either: SqliteStore) -> None:
    either.from_bytes("a", b"old")
    seen = []

    either.set("a", (ActingSource(lambda: seen.append((either.to_bytes("a"), list(either.query_keys())))), {}))

    assert seen == [(b"old", ["a"])]
    assert either.to_bytes("a") == ACTED


@pytest.mark.parametrize("key", ["a", "b"])
def test_source_may_write_to_the_store(either: SqliteStore, key: str) -> None:
    either.set("a", (ActingSource(lambda: either.from_bytes(key, b"acted")), {}))

    assert either.to_bytes("a") == ACTED
    assert either.to_bytes(key) == (ACTED if key == "a" else b"acted")
    assert either._select("SELECT count(*) FROM chunk") == [(2 if key == "a" else 3,)]


def test_failing_source_undoes_its_own_writes(either: SqliteStore) -> None:
    def write_and_fail() -> None:
        either.from_bytes("b", b"acted")
        raise OSError("stop")

    with pytest.raises(OSError, match="stop"):
        either.set("a", (ActingSource(write_and_fail), {}))

    assert list(either.query_keys()) == []


def test_source_may_ignore_its_own_failed_write(either: SqliteStore) -> None:
    def fail_to_write() -> None:
        with pytest.raises(OSError, match="stop"):
            either.set("b", (ActingSource(fail(OSError("stop"))), {}))

    either.set("a", (ActingSource(fail_to_write), {}))

    assert list(either.query_keys()) == ["a"]
    assert either.to_bytes("a") == ACTED


def test_source_cannot_begin_a_transaction(either: SqliteStore) -> None:
    def begin() -> None:
        with pytest.raises(TransactionError, match="no transaction can begin while a value for store 'archive'"):
            either.transaction().__enter__()

    either.set("a", (ActingSource(begin), {}))

    assert either.to_bytes("a") == ACTED
    with either.transaction():
        either.from_bytes("b", b"1")


def test_transaction_in_a_source_joins_the_enclosing_one(either: SqliteStore) -> None:
    def write() -> None:
        with either.transaction():
            either.from_bytes("b", b"1")

    with either.transaction():
        either.set("a", (ActingSource(write), {}))

    assert either.to_bytes("a") == ACTED
    assert either.to_bytes("b") == b"1"


def test_source_that_disconnects_the_store_fails_the_write(store: SqliteStore) -> None:
    with pytest.raises(StoreConnectionError, match="is disconnected"):
        store.set("a", (ActingSource(store.disconnect), {}))

    store.connect()
    assert list(store.query_keys()) == []


def test_other_threads_read_committed_values_without_waiting(
    either: SqliteStore, other_thread: ThreadPoolExecutor
) -> None:
    either.from_bytes("a", b"old")
    either.from_bytes("gone", ACTED)

    def read() -> tuple[bytes, bytes, list[str], bool]:
        return either.to_bytes("a"), either.to_bytes("gone"), list(either.query_keys()), either.exists("b")

    def read_in_other_thread() -> tuple[bytes, bytes, list[str], bool]:
        return other_thread.submit(read).result(LONG)

    before, during = read(), []
    with either.transaction():
        either.from_bytes("a", b"new")
        either.delete("gone")
        during.append(read_in_other_thread())
        either.set("b", (ActingSource(lambda: during.append(read_in_other_thread())), {}))
        during.append(read_in_other_thread())

    assert during == [before] * 3
    assert other_thread.submit(either.to_bytes, "a").result(LONG) == b"new"


def test_write_waits_for_another_connection(store: SqliteStore, path: Path, other_thread: ThreadPoolExecutor) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    written = other_thread.submit(store.from_bytes, "a", b"1")
    with pytest.raises(TimeoutError):
        written.result(0.5)  # longer than SQLite's own timeout
    other.execute("COMMIT")
    other.close()

    written.result(LONG)
    assert store.to_bytes("a") == b"1"


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_write_times_out_while_another_connection_writes(path: Path, timeout: float) -> None:
    with store_at(path, name="archive", timeout=timeout) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(TransactionTimeoutError, match=f"another process is still writing to .* after {timeout} s"):
            store.from_bytes("a", b"1")
        with pytest.raises(TransactionTimeoutError):
            store.transaction().__enter__()
        found = store.exists("a")
        other.close()
        store.from_bytes("a", b"1")

    assert not found


def test_full_database_keeps_old_values_and_accepts_small_ones(either: SqliteStore) -> None:
    either.from_bytes("a", b"old")
    limit(either, 4)

    with pytest.raises(StoreFullError, match=r"store 'archive' has no space left in .*: free some space") as raised:
        either.from_bytes("a", bytes(MEBIBYTE))

    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert either.to_bytes("a") == b"old"
    either.from_bytes("a", b"small")
    assert either.to_bytes("a") == b"small"


def test_transaction_ended_by_a_full_database_keeps_nothing(either: SqliteStore) -> None:
    """SQLite rolls back by itself then; later writes of the block must not be committed alone."""
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


def test_source_that_fills_the_database_fails_the_write(store: SqliteStore, path: Path) -> None:
    store.from_bytes("a", b"old")
    limit(store, 80)

    def fill() -> None:
        with pytest.raises(StoreFullError):
            store.from_bytes("b", bytes(MEBIBYTE))

    with pytest.raises(TransactionAbortedError):
        store.set("a", (ActingSource(fill), {}))

    assert store.to_bytes("a") == b"old"
    assert count_chunks(path) == 1


def test_next_write_rolls_back_an_abandoned_transaction(either: SqliteStore) -> None:
    either._opened._writer.run("BEGIN IMMEDIATE")
    either._opened._writer.run("REPLACE INTO entry VALUES ('left', '{}', 0, 0.0, 0.0, 1)")

    either.from_bytes("a", b"1")

    assert list(either.query_keys()) == ["a"]


@pytest.mark.parametrize("after", [True, False])
def test_interrupted_commit_reports_its_actual_outcome(
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


def test_interrupted_begin_leaves_nothing_behind(either: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
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
            own = (store, other)[number % 2]
            for _ in range(20):
                with own.transaction():
                    counted = own.get_metadata("count")["count"]
                    own.set_metadata("count", {"count": counted + 1})

        store.set_metadata("count", {"count": 0})
        list(pool.map(count, range(4)))

    assert store.get_metadata("count") == {"count": 80}


def test_write_waiting_for_a_disconnected_store_raises_an_error(
    store: SqliteStore, other_thread: ThreadPoolExecutor
) -> None:
    read = Event()

    class Reporting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.set()
            return super().read(size)

    def disconnect() -> None:
        waiting.append(other_thread.submit(store.set, "b", (Reporting(b"1"), {})))
        assert read.wait(LONG)
        store.disconnect()

    waiting: list[Future[None]] = []
    with pytest.raises(StoreConnectionError):
        store.set("a", (ActingSource(disconnect), {}))

    with pytest.raises(StoreConnectionError, match="store 'archive' is disconnected"):
        waiting[0].result(LONG)
