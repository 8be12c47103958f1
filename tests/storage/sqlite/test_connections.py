"""Tests of the connections of SqliteStore: their number, and when they are closed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from encore_events.background import run_in_background
from encore_storage.errors import StoreConnectionError
from encore_storage.stores import SqliteStore
from encore_storage.stores.sqlite.connection import DatabaseConnection
from tests.storage.sqlite.support import MEBIBYTE, store_at
from tests.storage.support import LONG, run

LARGE = bytes(2 * MEBIBYTE)


@pytest.fixture
def count_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that counts the open connections among those made during the test."""
    made: list[DatabaseConnection] = []
    prepare = DatabaseConnection._prepare

    def counted(connection: DatabaseConnection, *, create: bool) -> None:
        made.append(connection)
        prepare(connection, create=create)

    monkeypatch.setattr(DatabaseConnection, "_prepare", counted)
    return lambda: sum(not connection.is_closed for connection in made)


def settle() -> None:
    """Wait for the background work of finalizers."""
    done = Event()
    run_in_background(done.set)
    assert done.wait(LONG)


def test_consecutive_readers_share_a_connection(count_open: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            store.exists("a")
            assert store.to_bytes("a") == LARGE
            assert list(store.query_keys()) == ["a"]

        assert count_open() == 2  # one for writing, one for reading


def test_few_idle_connections_are_kept(count_open: Callable[[], int], path: Path) -> None:
    with store_at(path) as store, ExitStack() as streams:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            streams.enter_context(store.get_data("a")).read(1)
        many = count_open()
        streams.close()

        assert (many, count_open()) == (21, 9)


def test_stream_of_a_small_value_holds_no_connection(count_open: Callable[[], int], path: Path) -> None:
    with store_at(path) as store, ExitStack() as streams:
        store.from_bytes("a", b"small")
        for _ in range(20):
            streams.enter_context(store.get_data("a")).read(1)

        assert count_open() == 2


@pytest.mark.parametrize("read", [1, MEBIBYTE + 1])
def test_stream_closed_early_releases_its_connection(count_open: Callable[[], int], path: Path, read: int) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            with store.get_data("a") as data:
                data.read(read)

        assert count_open() == 2


def test_collected_stream_releases_its_connection(count_open: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            store.get_data("a").read(1)
            settle()

        assert count_open() == 2


def test_collected_query_releases_its_connection(count_open: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.multiset_metadata(["a", "b"], [{}, {}])
        listings: list[Callable[[], Iterator[object]]] = [store.query, store.query_keys, lambda: store.glob("*")]
        for listing in listings * 5:
            next(listing())
            settle()

        assert count_open() == 2


def test_error_in_a_stream_releases_its_connection(count_open: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        store._opened._writer.run("DELETE FROM chunk WHERE number = 1")
        for _ in range(20):
            with store.get_data("a") as data, pytest.raises(RuntimeError):
                data.read()

        assert count_open() == 2


def test_disconnect_closes_all_connections_not_in_use(count_open: Callable[[], int], path: Path) -> None:
    store = store_at(path)
    store.from_bytes("a", LARGE)
    data = store.get_data("a")
    store.exists("a")
    store.disconnect()

    assert count_open() == 1
    assert data.read() == LARGE
    assert count_open() == 0


def test_store_works_after_reconnect(store: SqliteStore) -> None:
    store.from_bytes("a", b"1")
    for _ in range(3):
        store.disconnect()
        with pytest.raises(StoreConnectionError):
            store.exists("a")
        store.connect()
        store.connect()

        assert store.to_bytes("a") == b"1"
        store.from_bytes("a", b"1")


def test_read_of_a_closed_database_raises_an_error(store: SqliteStore) -> None:
    database = store._opened
    store.disconnect()

    with pytest.raises(StoreConnectionError, match="store 'archive' is disconnected: call connect"):
        database.read("SELECT 1")


def test_closed_connection_raises_an_error(store: SqliteStore) -> None:
    connection = DatabaseConnection(store._opened.config)
    connection.close()

    with pytest.raises(StoreConnectionError, match="store 'archive' was disconnected from"):
        connection.run("SELECT 1")


@pytest.mark.parametrize("location", ["store.db", ":memory:"])
def test_collected_store_closes_its_connections(
    count_open: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_at(location)
    store.from_bytes("a", b"1")
    assert store.to_bytes("a") == b"1"
    collected = weakref.ref(store)
    before = count_open()

    del store
    gc.collect()

    assert (before, collected(), count_open()) == (2, None, 0)


@pytest.mark.parametrize("location", ["store.db", ":memory:"])
def test_open_store_at_exit_is_closed_silently(tmp_path: Path, location: str) -> None:
    path = location if location == ":memory:" else tmp_path / location
    run(
        "import sys\n"
        "from encore_storage.stores import SqliteStore\n"
        "store = SqliteStore(sys.argv[1])\n"
        "store.from_bytes('a', bytes(3 << 20))\n"
        "assert store.to_bytes('a') == bytes(3 << 20)\n",
        path,
    )

    assert [file.name for file in tmp_path.iterdir()] == ([] if location == ":memory:" else ["store.db"])


def test_store_that_cannot_be_opened_leaves_no_connection(count_open: Callable[[], int], path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)

    with pytest.raises(ValueError, match="no valid database"):
        store_at(path)

    assert count_open() == 0
