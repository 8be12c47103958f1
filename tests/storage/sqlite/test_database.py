"""Tests of the database file of SqliteStore: settings, ownership, and files that cannot be opened."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from encore_storage.errors import IntegrityError, StoreConnectionError, StoreError, StoreFullError
from encore_storage.stores import SqliteStore
from encore_storage.stores.sqlite.connection import DatabaseConfig, DatabaseConnection
from tests.storage.sqlite.support import MEBIBYTE, run_sql, store_at
from tests.storage.support import LONG

FULL = 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [("journal_mode", "wal"), ("synchronous", FULL), ("page_size", 16384), ("wal_autocheckpoint", 1000)],
)
def test_durable_settings_are_used(store: SqliteStore, setting: str, value: object) -> None:
    with store.transaction():
        assert store._select(f"PRAGMA {setting}") == [(value,)]


@pytest.mark.parametrize("setting", ["journal_mode", "synchronous"])
def test_every_connection_has_the_same_settings(store: SqliteStore, setting: str) -> None:
    read = store._select(f"PRAGMA {setting}")

    with store.transaction():
        assert store._select(f"PRAGMA {setting}") == read


def test_log_of_a_large_transaction_is_truncated_by_the_next_write(store: SqliteStore, path: Path) -> None:
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
def test_unusual_path_works(tmp_path: Path, name: str) -> None:
    with store_at(tmp_path / name) as store:
        store.from_bytes("a", b"1")

        assert store.to_bytes("a") == b"1"
        assert (tmp_path / name).exists()


def test_relative_path_is_resolved_when_the_store_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with store_at("store.db") as store:
        monkeypatch.chdir(tmp_path / "other")
        store.from_bytes("a", b"1")

        assert store.to_bytes("a") == b"1"
        assert list((tmp_path / "other").iterdir()) == []


def test_values_persist(path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", b"1")

    with store_at(path) as store:
        assert store.to_bytes("a") == b"1"


def test_disconnected_store_leaves_one_file(path: Path) -> None:
    with store_at(path) as store:
        store.from_bytes("a", b"1")

    assert list(path.parent.iterdir()) == [path]


def test_other_file_is_rejected_unchanged(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)

    with pytest.raises(
        IntegrityError, match=r"store 'sqlite' found no valid database in '.*' \(file is not a database\)"
    ):
        store_at(path)

    assert path.read_bytes() == b"not a database" * 1000


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE people (name)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
def test_database_of_another_application_is_rejected_unchanged(path: Path, statement: str) -> None:
    run_sql(path, statement)
    before = path.read_bytes()

    with pytest.raises(IntegrityError, match=r"the database '.*' belongs to another application: use another path"):
        store_at(path)

    assert path.read_bytes() == before


def test_database_of_a_later_version_is_rejected(path: Path) -> None:
    store_at(path).disconnect()
    run_sql(path, "PRAGMA user_version = 2")

    with pytest.raises(IntegrityError, match="has layout 2, and this version of Encore supports 1"):
        store_at(path)


@pytest.mark.parametrize("statement", [None, "VACUUM", "PRAGMA journal_mode = wal"])
def test_empty_database_is_accepted(path: Path, statement: str | None) -> None:
    path.touch()
    if statement is not None:
        run_sql(path, statement)

    with store_at(path) as store:
        store.from_bytes("a", b"1")

        assert store.to_bytes("a") == b"1"


def test_stores_that_create_a_database_at_once_share_it(path: Path) -> None:
    barrier = Barrier(8)

    def make(number: int) -> SqliteStore:
        barrier.wait(LONG)
        store = store_at(path)
        store.from_bytes(f"{number}", b"1")
        return store

    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(make, range(8)))

    assert all(list(store.query_keys()) == [f"{number}" for number in range(8)] for store in stores)


def test_database_created_meanwhile_is_shared(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = DatabaseConnection._create

    def create_late(connection: DatabaseConnection) -> None:
        monkeypatch.undo()
        store_at(path).from_bytes("a", b"1")
        create(connection)

    monkeypatch.setattr(DatabaseConnection, "_create", create_late)
    with store_at(path) as store:
        assert store.to_bytes("a") == b"1"


@pytest.mark.parametrize("location", ["", "a\0b"])
def test_invalid_path_is_rejected(location: str) -> None:
    with pytest.raises(StoreConnectionError, match="is not the path of a database: pass one, or ':memory:'"):
        store_at(location)


def test_missing_directory_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(
        StoreConnectionError, match=r"cannot open '.*/missing/store\.db'.*check that the directory exists"
    ):
        store_at(tmp_path / "missing" / "store.db")


def test_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StoreConnectionError, match="cannot open"):
        store_at(tmp_path)


def test_unreadable_file_error_names_the_path(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    store_at(path).disconnect()
    path.chmod(0)

    with pytest.raises(StoreConnectionError, match=f"cannot open '{path}'"):
        store_at(path)


def test_file_system_without_write_ahead_log_is_rejected() -> None:
    config = DatabaseConfig("archive", "here", "file:/encore-test?vfs=memdb&", "wal", (), 0)

    with pytest.raises(StoreConnectionError, match="its journal mode is 'memory' and not 'wal'"):
        DatabaseConnection(config, create=True)


def test_removed_file_is_not_recreated(store: SqliteStore, path: Path) -> None:
    path.unlink()

    with pytest.raises(StoreConnectionError, match="cannot open"):
        store.exists("a")

    assert not path.exists()


def test_file_replaced_by_an_empty_one_is_rejected(store: SqliteStore, path: Path) -> None:
    path.unlink()
    path.touch()

    with pytest.raises(IntegrityError, match=r"store 'archive' lost its database '.*': it was replaced"):
        store.exists("a")


def test_damaged_database_raises_integrity_error(path: Path) -> None:
    with store_at(path) as store:
        for number in range(200):
            store.from_bytes(f"{number}", bytes(4000))
    data = path.read_bytes()
    path.write_bytes(data[:16384] + b"\xff" * (len(data) - 16384))

    with store_at(path) as store, pytest.raises(IntegrityError, match="found no valid database") as raised:
        list(store.query_keys())

    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)


def test_unexpected_sqlite_error_is_a_store_error(store: SqliteStore, path: Path) -> None:
    run_sql(path, "DROP TABLE entry")

    with pytest.raises(StoreError, match=r"store 'archive' failed in '.*' \(no such table: entry\)") as raised:
        store.exists("a")

    assert type(raised.value) is StoreError


def test_metadata_beyond_the_size_limit_is_rejected(store: SqliteStore) -> None:
    store._select("SELECT 1")
    store._opened._writer._raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100000)

    with pytest.raises(StoreFullError, match="exceeded a size limit of"):
        store.set_metadata("a", {"text": "x" * 100000})

    assert not store.exists("a")


def test_readonly_reflects_the_permissions_of_the_file(unprivileged: Path) -> None:
    with store_at(unprivileged / "store.db") as store:
        assert not store.info()["readonly"]

        (unprivileged / "store.db").chmod(0o444)

        assert store.info()["readonly"]
