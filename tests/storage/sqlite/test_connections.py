"""Connections: how many stay, when they are closed, and by whom."""

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
from encore_storage.stores.sqlite.connection import Connection
from tests.storage.sqlite.support import MEBIBYTE, store_at
from tests.storage.support import LONG, run

LARGE = bytes(2 * MEBIBYTE)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many connections are open, of those that were made since."""
    made: list[Connection] = []
    prepare = Connection._prepare

    def counted(connection: Connection, *, create: bool) -> None:
        made.append(connection)
        prepare(connection, create=create)

    monkeypatch.setattr(Connection, "_prepare", counted)
    return lambda: sum(not connection.is_closed for connection in made)


def settle() -> None:
    """Wait until what finalizers have left for another thread is done."""
    done = Event()
    run_in_background(done.set)
    assert done.wait(LONG)


def test_readers_one_after_the_other_share_a_connection(opened: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            store.exists("a")
            assert store.to_bytes("a") == LARGE
            assert list(store.query_keys()) == ["a"]

        assert opened() == 2  # one that writes, one that reads


def test_of_many_connections_few_stay(opened: Callable[[], int], path: Path) -> None:
    with store_at(path) as store, ExitStack() as streams:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            streams.enter_context(store.get_data("a")).read(1)
        many = opened()
        streams.close()

        assert (many, opened()) == (21, 9)


def test_a_small_value_holds_no_connection_while_it_is_read(opened: Callable[[], int], path: Path) -> None:
    with store_at(path) as store, ExitStack() as streams:
        store.from_bytes("a", b"small")
        for _ in range(20):
            streams.enter_context(store.get_data("a")).read(1)

        assert opened() == 2


@pytest.mark.parametrize("read", [1, MEBIBYTE + 1])
def test_a_stream_that_is_closed_early_gives_its_connection_back(
    opened: Callable[[], int], path: Path, read: int
) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            with store.get_data("a") as data:
                data.read(read)

        assert opened() == 2


def test_a_stream_that_is_dropped_unclosed_gives_its_connection_back(opened: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        for _ in range(20):
            store.get_data("a").read(1)
            settle()

        assert opened() == 2


def test_a_query_that_is_dropped_in_the_middle_gives_its_connection_back(opened: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.multiset_metadata(["a", "b"], [{}, {}])
        listings: list[Callable[[], Iterator[object]]] = [store.query, store.query_keys, lambda: store.glob("*")]
        for listing in listings * 5:
            next(listing())
            settle()

        assert opened() == 2


def test_an_error_in_mid_stream_gives_the_connection_back(opened: Callable[[], int], path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", LARGE)
        store._opened._writer.run("DELETE FROM chunk WHERE number = 1")
        for _ in range(20):
            with store.get_data("a") as data, pytest.raises(RuntimeError):
                data.read()

        assert opened() == 2


def test_disconnecting_closes_all_but_what_is_being_read(opened: Callable[[], int], path: Path) -> None:
    store = store_at(path)
    store.from_bytes("a", LARGE)
    data = store.get_data("a")
    store.exists("a")
    store.disconnect()

    assert opened() == 1
    assert data.read() == LARGE
    assert opened() == 0


def test_a_store_works_again_once_it_is_connected_again(store: SqliteStore) -> None:
    store.from_bytes("a", b"1")
    for _ in range(3):
        store.disconnect()
        with pytest.raises(StoreConnectionError):
            store.exists("a")
        store.connect()
        store.connect()

        assert store.to_bytes("a") == b"1"
        store.from_bytes("a", b"1")


def test_a_reader_that_comes_while_the_store_is_disconnected_is_refused(store: SqliteStore) -> None:
    database = store._opened
    store.disconnect()

    with pytest.raises(StoreConnectionError, match="store 'archive' is disconnected: call connect"):
        database.read("SELECT 1")


def test_a_connection_that_is_closed_while_it_is_used_says_so(store: SqliteStore) -> None:
    connection = Connection(store._opened.place)
    connection.close()

    with pytest.raises(StoreConnectionError, match="store 'archive' was disconnected from"):
        connection.run("SELECT 1")


@pytest.mark.parametrize("location", ["store.db", ":memory:"])
def test_a_store_that_is_collected_closes_its_connections(
    opened: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_at(location)
    store.from_bytes("a", b"1")
    assert store.to_bytes("a") == b"1"
    collected = weakref.ref(store)
    was = opened()

    del store
    gc.collect()

    assert (was, collected(), opened()) == (2, None, 0)


@pytest.mark.parametrize("location", ["store.db", ":memory:"])
def test_a_store_that_is_there_at_the_end_of_the_program_is_closed_in_silence(tmp_path: Path, location: str) -> None:
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


def test_a_store_that_could_not_be_made_leaves_no_connection(opened: Callable[[], int], path: Path) -> None:
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(ValueError, match="no sound database"):
        store_at(path)

    assert opened() == 0
