"""The file: what is set for it, whose it is, and what can't be opened."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from encore_storage.errors import IntegrityError, StoreConnectionError, StoreError, StoreFullError
from encore_storage.stores import SqliteStore
from encore_storage.stores.sqlite.connection import Connection, Place
from tests.storage.sqlite.support import MEBIBYTE, ask, store_at
from tests.storage.support import LONG

FULL = 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [("journal_mode", "wal"), ("synchronous", FULL), ("page_size", 16384), ("wal_autocheckpoint", 1000)],
)
def test_what_is_written_is_durable_by_these_settings(store: SqliteStore, setting: str, value: object) -> None:
    with store.transaction():
        assert store._select(f"PRAGMA {setting}") == [(value,)]


@pytest.mark.parametrize("setting", ["journal_mode", "synchronous"])
def test_each_connection_has_the_settings_that_the_writing_one_has(store: SqliteStore, setting: str) -> None:
    read = store._select(f"PRAGMA {setting}")

    with store.transaction():
        assert store._select(f"PRAGMA {setting}") == read


def test_the_log_of_a_large_transaction_is_cut_down_by_what_is_written_next(store: SqliteStore, path: Path) -> None:
    log = path.with_name("store.db-wal")
    with store.transaction():
        for number in range(80):
            store.from_bytes(f"large/{number}", bytes(MEBIBYTE))
    large = log.stat().st_size

    store.from_bytes("a", b"1")

    assert large > 80 * MEBIBYTE
    assert log.stat().st_size <= 64 * MEBIBYTE


@pytest.mark.parametrize(
    "name", ["a b.db", "100%.db", "what?mode=memory", "part#1", "file:x", "é😀", "..db", "':memory:'"]
)
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    with store_at(tmp_path / name) as store:
        store.from_bytes("a", b"1")

        assert store.to_bytes("a") == b"1"
        assert (tmp_path / name).exists()


def test_a_relative_path_is_meant_where_the_store_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with store_at("store.db") as store:
        monkeypatch.chdir(tmp_path / "other")
        store.from_bytes("a", b"1")

        assert store.to_bytes("a") == b"1"
        assert list((tmp_path / "other").iterdir()) == []


def test_what_was_written_is_there_for_the_next_store(path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", b"1")

    with store_at(path) as store:
        assert store.to_bytes("a") == b"1"


def test_a_store_that_is_disconnected_leaves_one_file(path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", b"1")

    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(
        IntegrityError, match=r"store 'sqlite' finds no sound database in '.*' \(file is not a database\)"
    ):
        store_at(path)

    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE people (name)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
def test_a_database_of_another_application_is_refused_and_left_alone(path: Path, statement: str) -> None:
    ask(path, statement)
    before = path.read_bytes()

    with pytest.raises(IntegrityError, match="belongs to another application, so store 'sqlite' leaves it alone"):
        store_at(path)

    assert path.read_bytes() == before


def test_a_database_of_a_later_version_is_refused(path: Path) -> None:
    store_at(path).disconnect()
    ask(path, "PRAGMA user_version = 2")

    with pytest.raises(IntegrityError, match="has layout 2, and this version of Encore knows 1"):
        store_at(path)


@pytest.mark.parametrize("statement", [None, "VACUUM", "PRAGMA journal_mode = wal"])
def test_an_empty_database_is_taken(path: Path, statement: str | None) -> None:
    path.touch()
    if statement is not None:
        ask(path, statement)

    with store_at(path) as store:
        store.from_bytes("a", b"1")

        assert store.to_bytes("a") == b"1"


def test_stores_that_make_one_database_at_once_share_it(path: Path) -> None:
    barrier = Barrier(8)

    def make(number: int) -> SqliteStore:
        barrier.wait(LONG)
        store = store_at(path)
        store.from_bytes(f"{number}", b"1")
        return store

    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(make, range(8)))

    assert all(list(store.query_keys()) == [f"{number}" for number in range(8)] for store in stores)


def test_a_database_that_another_has_made_in_the_meantime_is_shared(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Connection._create

    def create_late(connection: Connection) -> None:
        monkeypatch.undo()
        store_at(path).from_bytes("a", b"1")
        create(connection)

    monkeypatch.setattr(Connection, "_create", create_late)
    with store_at(path) as store:
        assert store.to_bytes("a") == b"1"


@pytest.mark.parametrize("location", ["", "a\0b"])
def test_what_is_no_path_is_refused(location: str) -> None:
    with pytest.raises(StoreConnectionError, match="is no path of a database: give one, or ':memory:'"):
        store_at(location)


def test_a_path_whose_directory_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        StoreConnectionError, match=r"cannot open '.*/missing/store\.db'.*see that the directory exists"
    ):
        store_at(tmp_path / "missing" / "store.db")


def test_a_directory_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreConnectionError, match="cannot open"):
        store_at(tmp_path)


def test_a_file_that_may_not_be_read_is_refused_by_name(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    store_at(path).disconnect()
    path.chmod(0)

    with pytest.raises(StoreConnectionError, match=f"cannot open '{path}'"):
        store_at(path)


def test_a_file_system_without_the_journal_that_it_takes_is_refused() -> None:
    place = Place("archive", "here", "file:/encore-test?vfs=memdb&", "wal", (), 0)

    with pytest.raises(StoreConnectionError, match="its journal is 'memory' where it has to be 'wal'"):
        Connection(place, create=True)


def test_a_file_that_was_taken_away_is_not_made_again(store: SqliteStore, path: Path) -> None:
    path.unlink()

    with pytest.raises(StoreConnectionError, match="cannot open"):
        store.exists("a")

    assert not path.exists()


def test_a_file_that_was_replaced_by_an_empty_one_is_refused(store: SqliteStore, path: Path) -> None:
    path.unlink()
    path.touch()

    with pytest.raises(IntegrityError, match=r"the database '.*' of store 'archive' was taken away"):
        store.exists("a")


def test_a_damaged_database_is_an_integrity_error(path: Path) -> None:
    with store_at(path) as store:
        for number in range(200):
            store.from_bytes(f"{number}", bytes(4000))
    data = path.read_bytes()
    path.write_bytes(data[:16384] + b"\xff" * (len(data) - 16384))

    with store_at(path) as store, pytest.raises(IntegrityError, match="finds no sound database") as raised:
        list(store.query_keys())

    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)


def test_an_error_that_has_no_name_of_its_own_is_still_one_of_the_store(store: SqliteStore, path: Path) -> None:
    ask(path, "DROP TABLE entry")

    with pytest.raises(StoreError, match=r"store 'archive' failed in '.*' \(no such table: entry\)") as raised:
        store.exists("a")

    assert type(raised.value) is StoreError


def test_metadata_that_is_too_long_is_refused(store: SqliteStore) -> None:
    store._select("SELECT 1")
    store._opened._writer._raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100000)

    with pytest.raises(StoreFullError, match="cannot hold so much in"):
        store.set_metadata("a", {"text": "x" * 100000})

    assert not store.exists("a")


def test_it_is_readonly_when_its_file_is(unprivileged: Path) -> None:
    with store_at(unprivileged / "store.db") as store:
        assert not store.info()["readonly"]

        (unprivileged / "store.db").chmod(0o444)

        assert store.info()["readonly"]
