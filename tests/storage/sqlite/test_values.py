"""Tests of SqliteStore: bytes in rows, keys in pages, and reads during writes."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from encore_storage.errors import ConflictError, IntegrityError, InvalidKeyError, StoreConnectionError
from encore_storage.stores import SqliteStore
from encore_storage.stores.sqlite.file_database import SnapshotReader
from encore_storage.stores.sqlite.stream import ROW_SIZE, regrouped
from tests.storage.sqlite.support import MEBIBYTE, count_chunks, run_sql
from tests.storage.support import LONG, put

LARGE = Random(1).randbytes(3 * MEBIBYTE + 12345)
OTHER = Random(2).randbytes(2 * MEBIBYTE + 54321)


@pytest.mark.parametrize("sizes", [[], [0], [1], [ROW_SIZE], [ROW_SIZE + 1], [3 * ROW_SIZE], [700_000] * 5, [1, 0] * 9])
def test_all_rows_but_the_last_are_full(sizes: list[int]) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]

    rows = [bytes(row) for row in regrouped(chunks)]

    assert b"".join(rows) == b"".join(chunks)
    assert all(len(row) == ROW_SIZE for row in rows[:-1])
    assert all(0 < len(row) <= ROW_SIZE for row in rows)


def test_value_is_stored_in_rows_of_a_mebibyte(store: SqliteStore, path: Path) -> None:
    store.set("a", (io.BytesIO(LARGE), {}), buffer_size=100_000)

    assert run_sql(path, "SELECT length(data) FROM chunk ORDER BY number") == [(MEBIBYTE,)] * 3 + [(12345,)]


@pytest.mark.parametrize("buffer_size", [1000, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 10 * MEBIBYTE])
def test_value_of_many_rows_round_trips(either: SqliteStore, buffer_size: int) -> None:
    either.set("a", (io.BytesIO(LARGE), {}), buffer_size)

    assert either.to_bytes("a", buffer_size) == LARGE


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 0),
        (0, 1),
        (0, MEBIBYTE),
        (MEBIBYTE - 1, MEBIBYTE + 1),
        (MEBIBYTE, 2 * MEBIBYTE),
        (10, 3 * MEBIBYTE + 10),
        (3 * MEBIBYTE, None),
        (len(LARGE) - 1, None),
        (len(LARGE), None),
    ],
)
def test_range_spans_rows(either: SqliteStore, start: int, end: int | None) -> None:
    either.from_bytes("a", LARGE)

    with either.get_data_range("a", start, end) as data:
        assert data.read() == LARGE[start:end]


@pytest.mark.parametrize("data", [b"", b"small", LARGE])
@pytest.mark.parametrize("new", [b"", b"small too", OTHER])
def test_replaced_bytes_are_deleted(store: SqliteStore, path: Path, data: bytes, new: bytes) -> None:
    store.from_bytes("a", data)
    store.from_bytes("a", new)
    replaced = count_chunks(path)
    store.delete("a")

    assert replaced == -(-len(new) // MEBIBYTE)
    assert count_chunks(path) == 0


def replace(store: SqliteStore) -> None:
    store.from_bytes("a", OTHER)


def remove(store: SqliteStore) -> None:
    store.delete("a")


def recreate(store: SqliteStore) -> None:
    store.delete("a")
    store.from_bytes("a", LARGE)


CHANGES = [replace, remove, recreate]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("first", [0, 1, MEBIBYTE, MEBIBYTE + 1])
def test_open_stream_returns_the_old_bytes(
    store: SqliteStore, change: Callable[[SqliteStore], None], first: int
) -> None:
    store.from_bytes("a", LARGE)
    with store.get_data("a") as data:
        start = data.read(first)
        change(store)

        assert start + data.read() == LARGE


@pytest.mark.parametrize("change", CHANGES)
def test_open_stream_in_memory_raises_conflict_error(
    memory: SqliteStore, change: Callable[[SqliteStore], None]
) -> None:
    memory.from_bytes("a", LARGE)
    with memory.get_data("a") as data:
        assert data.read(10) == LARGE[:10]
        change(memory)

        with pytest.raises(ConflictError):
            data.read()


@pytest.mark.parametrize("change", CHANGES)
def test_open_stream_in_the_replacing_transaction_raises_conflict_error(
    either: SqliteStore, change: Callable[[SqliteStore], None]
) -> None:
    either.from_bytes("a", LARGE)
    with either.transaction(), either.get_data("a") as data:
        data.read(10)
        change(either)

        with pytest.raises(ConflictError):
            data.read()


def test_stream_opened_before_the_replacing_transaction_returns_the_old_bytes(
    store: SqliteStore,
) -> None:
    store.from_bytes("a", LARGE)
    with store.get_data("a") as data, store.transaction():
        store.from_bytes("a", OTHER)

        assert data.read() == LARGE
        assert store.to_bytes("a") == OTHER


def test_stream_opened_in_a_transaction_outlives_it(either: SqliteStore) -> None:
    with either.transaction():
        either.from_bytes("a", LARGE)
        data = either.get_data("a")
        data.read(10)

    with data:
        assert data.read() == LARGE[10:]


def test_stream_of_a_rolled_back_value_raises_conflict_error(either: SqliteStore) -> None:
    with pytest.raises(OSError, match="stop"), either.transaction():
        either.from_bytes("a", LARGE)
        data = either.get_data("a")
        raise OSError("stop")

    with data, pytest.raises(ConflictError):
        data.read()


def test_another_thread_cannot_read_uncommitted_bytes(either: SqliteStore, other_thread: ThreadPoolExecutor) -> None:
    with either.transaction():
        either.from_bytes("a", LARGE)
        with either.get_data("a") as data, pytest.raises(ConflictError):
            other_thread.submit(data.read).result(LONG)


@pytest.mark.parametrize("change", [replace, remove])
def test_value_replaced_since_its_lookup_raises_conflict_error(
    either: SqliteStore, change: Callable[[SqliteStore], None]
) -> None:
    either.from_bytes("a", LARGE)
    with either.get("a") as value:
        change(either)

        with pytest.raises(ConflictError):
            _ = value.data


def test_new_metadata_leaves_a_looked_up_value_readable(either: SqliteStore) -> None:
    either.from_bytes("a", LARGE)
    with either.get("a") as value:
        either.set_metadata("a", {"kind": "new"})

        assert value.data.read(-1) == LARGE


def test_rolled_back_replacement_leaves_a_looked_up_value_readable(either: SqliteStore) -> None:
    either.from_bytes("a", LARGE)
    with either.get("a") as value:
        with pytest.raises(OSError, match="stop"), either.transaction():
            replace(either)
            raise OSError("stop")

        assert value.data.read(-1) == LARGE


@pytest.mark.parametrize(
    "damage",
    ["UPDATE chunk SET data = substr(data, 1, 10) WHERE number = 1", "UPDATE chunk SET data = x'' WHERE number = 1"],
)
def test_truncated_row_raises_integrity_error(store: SqliteStore, path: Path, damage: str) -> None:
    store.from_bytes("a", LARGE)
    run_sql(path, damage)

    with (
        store.get_data("a") as data,
        pytest.raises(IntegrityError, match="bytes are missing from the value under key 'a'"),
    ):
        data.read()


def test_closed_snapshot_raises_an_error(store: SqliteStore) -> None:
    snapshot = SnapshotReader(store._opened)  # type: ignore[arg-type] # the store's database is in a file
    snapshot.close()
    snapshot.close()

    with pytest.raises(StoreConnectionError, match="the snapshot is closed"):
        snapshot.read("SELECT 1")


def test_key_that_utf8_cannot_encode_is_rejected(either: SqliteStore) -> None:
    with pytest.raises(InvalidKeyError, match="UTF-8 cannot encode half of a surrogate pair"):
        either.from_bytes("\ud800", b"1")


def test_metadata_may_contain_surrogates(either: SqliteStore) -> None:
    either.set_metadata("a", {"\ud800": "\udfff\0"})

    assert either.get_metadata("a") == {"\ud800": "\udfff\0"}


def test_keys_may_contain_nul(either: SqliteStore) -> None:
    keys = sorted(["", "\0", "\0\0", "a", "a\0", "a\0b", "a\0c", "A", "é", "e\u0301", "😀", "%", "_", "'"])
    for key in keys:
        either.from_bytes(key, key.encode())

    assert list(either.query_keys()) == keys
    assert [either.to_bytes(key) for key in keys] == [key.encode() for key in keys]


def test_query_of_many_pages_returns_each_key_once(either: SqliteStore) -> None:
    keys = [f"{number:04}" for number in range(1000)]
    with either.transaction():
        for key in keys:
            put(either, key, b"", {"key": key, "even": int(key) % 2 == 0})

    assert list(either.query_keys()) == keys
    assert [metadata["key"] for _, metadata in either.query(even=True)] == keys[::2]


def test_query_reads_a_snapshot(store: SqliteStore) -> None:
    keys = [f"{number:04}" for number in range(1000)]
    with store.transaction():
        for key in keys:
            put(store, key, b"", {"version": 1})

    with store.query() as found:
        first = next(found)
        with store.transaction():
            for key in keys:
                store.set_metadata(key, {"version": 2})
            store.delete("0999")

        assert [first, *found] == [(key, {"version": 1}) for key in keys]


@pytest.mark.parametrize("inside", [True, False])
def test_keys_may_be_deleted_during_a_query(either: SqliteStore, inside: bool) -> None:
    with either.transaction():
        for number in range(600):
            either.from_bytes(f"{number}", b"1")

    def delete_all() -> None:
        for key in either.query_keys():
            either.delete(key)

    if inside:
        with either.transaction():
            delete_all()
    else:
        delete_all()

    assert list(either.query_keys()) == []


def test_query_begun_in_a_transaction_continues_after_its_rollback(either: SqliteStore) -> None:
    with either.transaction():
        for number in range(600):
            either.from_bytes(f"{number:04}", b"1")
    with pytest.raises(OSError, match="stop"), either.transaction():
        for number in range(600):
            either.from_bytes(f"{number:04}+", b"1")
        keys, items = either.query_keys(), either.query()
        next(keys)
        next(items)
        raise OSError("stop")

    assert list(keys)[-1] == "0599+"  # as of the first
    assert list(items)[-1] == ("0599", {})
