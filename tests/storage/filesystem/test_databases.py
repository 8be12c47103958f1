"""Tests of FileSystemStore with database files that this process has open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encore_storage.errors import OpenDatabaseError, error_type_of
from encore_storage.stores import FileSystemStore
from encore_storage.stores.open_databases import register, unregister
from tests.storage.filesystem.support import ActingSource, files_in, pair, put, scratch_in


@dataclass(eq=False)
class Database:
    """An open database."""

    path: str
    store: str = "orders"


@pytest.fixture
def database(root: Path) -> Iterator[Database]:
    """An open database in the directory of the store."""
    for name in ("base.db", "base.db-wal", "base.db-shm", "base.db-journal", "plain"):
        (root / name).write_bytes(name.encode())
    database = Database(str(root / "base.db"))
    register(database)
    yield database
    unregister(database)


CALLS: dict[str, Callable[[FileSystemStore, str], object]] = {
    "to_bytes": lambda store, key: store.to_bytes(key),
    "get": lambda store, key: store.get(key).data,
    "get_data_range": lambda store, key: store.get_data_range(key, 0, 1),
    "set": lambda store, key: put(store, key, b"new", v=1),
    "set_data": lambda store, key: store.from_bytes(key, b"new"),
    "delete": lambda store, key: store.delete(key),
}


@pytest.mark.parametrize("key", ["base.db", "base.db-wal", "base.db-shm"])
@pytest.mark.parametrize("name", CALLS)
def test_open_database_is_rejected(
    root: Path, store: FileSystemStore, database: Database, name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_in(root)
    opened = []
    original_open = os.open

    def recording(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(path)
        return original_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", recording)
    with pytest.raises(OpenDatabaseError, match=f"cannot use '{root}/{key}' as a file: store 'orders'") as caught:
        CALLS[name](store, key)
    monkeypatch.undo()

    assert error_type_of(caught.value) == "conflict"
    assert key not in opened
    assert {path: data for path, data in files_in(root).items() if not path.startswith(".encore")} == before
    assert scratch_in(root) == []


def test_hard_link_to_an_open_database_is_rejected(root: Path, store: FileSystemStore, database: Database) -> None:
    os.link(root / "base.db", root / "other name")

    with pytest.raises(OpenDatabaseError):
        store.to_bytes("other name")


def test_database_opened_during_a_write_is_not_replaced(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("base.db", b"old")
    database = Database(str(root / "base.db"))

    with pytest.raises(OpenDatabaseError):
        store.set_data("base.db", ActingSource(lambda: register(database)))
    unregister(database)

    assert store.to_bytes("base.db") == b"old"


def test_open_database_is_listed_and_has_metadata(store: FileSystemStore, database: Database) -> None:
    names = ["base.db", "base.db-journal", "base.db-shm", "base.db-wal", "plain"]

    assert list(store.query_keys()) == names
    assert [key for key, _ in store.query()] == names
    assert store.exists("base.db")
    assert store.get("base.db").size == len("base.db")
    store.set_metadata("base.db", {"v": 1})
    assert store.get_metadata("base.db") == {"v": 1}


def test_closed_database_and_other_files_are_accepted(store: FileSystemStore, database: Database) -> None:
    assert store.to_bytes("base.db-journal") == b"base.db-journal"
    put(store, "plain", b"new", v=1)
    unregister(database)

    assert store.to_bytes("base.db") == b"base.db"
    store.delete("base.db")
    assert pair(store, "plain") == (b"new", {"v": 1})
