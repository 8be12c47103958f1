"""Tests of database files removed or replaced under an open SqliteStore: writes raise, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import OpenDatabaseError, StoreConnectionError, StoreError
from encore_storage.events import StoreModificationEvent, StoreTransactionEndEvent
from encore_storage.stores import FileSystemStore, SqliteStore
from tests.storage.sqlite.support import run_sql, store_at

Damage = Callable[[Path], object]


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def remove(*suffixes: str) -> Damage:
    def act(path: Path) -> None:
        for suffix in suffixes:
            beside(path, suffix).unlink()

    return act


def replace_by_another(path: Path) -> None:
    with store_at(path.with_name("another.db")) as another:
        another.from_bytes("of the other", b"1")
    path.with_name("another.db").replace(path)


def replace_by_an_empty_file(path: Path) -> None:
    path.with_name("empty").touch()
    path.with_name("empty").replace(path)


def restore_a_copy(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def rename_the_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


DAMAGES: dict[str, Damage] = {
    "removed": remove("", "-wal", "-shm"),
    "removed but for its log": remove(""),
    "replaced by another": replace_by_another,
    "replaced by an empty file": replace_by_an_empty_file,
    "replaced by a copy": restore_a_copy,
    "its log removed": remove("-wal"),
    "its index removed": remove("-shm"),
    "its log and index removed": remove("-wal", "-shm"),
    "its directory renamed": rename_the_directory,
}
ADVICE = r"call disconnect\(\) and connect\(\)"

WRITES: dict[str, Callable[[SqliteStore], object]] = {
    "from_bytes": lambda store: store.from_bytes("a", b"lost"),
    "a large value": lambda store: store.from_bytes("a", bytes(3_000_000)),
    "set_metadata": lambda store: store.set_metadata("a", {"v": 1}),
    "delete": lambda store: store.delete("a"),
    "transaction": lambda store: store.transaction().__enter__(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the database, in a directory of its own."""
    (tmp_path / "directory").mkdir()
    return tmp_path / "directory" / "store.db"


@pytest.fixture
def recorder(store: SqliteStore) -> EventRecorder:
    store.from_bytes("a", b"1")
    manager = store.event_manager
    assert isinstance(manager, EventManager)
    return EventRecorder(manager)


def restore_directory(path: Path) -> None:
    """Move the directory back if it was renamed."""
    elsewhere = path.parent.with_name("elsewhere")
    if elsewhere.exists():
        elsewhere.rename(path.parent)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_next_write_raises_and_emits_nothing(
    store: SqliteStore, path: Path, recorder: EventRecorder, damage: str, write: str
) -> None:
    DAMAGES[damage](path)

    with pytest.raises(StoreConnectionError, match=ADVICE):
        WRITES[write](store)
    with pytest.raises(StoreConnectionError, match=ADVICE):
        WRITES[write](store)

    assert recorder.of(StoreModificationEvent) == []
    assert recorder.of(StoreTransactionEndEvent) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_reconnected_store_continues_with_the_current_file(
    store: SqliteStore, path: Path, recorder: EventRecorder, damage: str
) -> None:
    DAMAGES[damage](path)
    with pytest.raises(StoreConnectionError):
        store.from_bytes("b", b"lost")
    restore_directory(path)

    store.disconnect()
    store.connect()
    found = set(store.query_keys())
    store.from_bytes("c", b"1")
    store.disconnect()

    assert found <= {"a", "of the other"}
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    with store_at(path) as another:
        assert set(another.query_keys()) == {*found, "c"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_transaction_in_progress_fails(store: SqliteStore, path: Path, recorder: EventRecorder, damage: str) -> None:
    with pytest.raises(StoreConnectionError, match=ADVICE), store.transaction():
        store.from_bytes("b", b"lost")
        DAMAGES[damage](path)

    assert recorder.of(StoreModificationEvent) == []
    assert recorder.one(StoreTransactionEndEvent).outcome == "commit_failed"
    restore_directory(path)
    store.disconnect()
    store.connect()
    assert not store.exists("b")
    store.from_bytes("c", b"1")
    assert store.to_bytes("c") == b"1"


@pytest.mark.parametrize("damage", DAMAGES)
def test_write_in_progress_fails(store: SqliteStore, path: Path, recorder: EventRecorder, damage: str) -> None:
    class Source:
        chunks = iter((bytes(1_048_576), bytes(1_000_000)))

        def read(self, size: int, /) -> bytes:
            chunk = next(self.chunks, b"")
            if not chunk:
                DAMAGES[damage](path)
            return chunk

    with pytest.raises(StoreConnectionError, match=ADVICE):
        store.set_data("b", Source())

    assert recorder.of(StoreModificationEvent) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_read_with_a_new_connection_raises_or_returns_stored_bytes(
    store: SqliteStore, path: Path, recorder: EventRecorder, damage: str
) -> None:
    with contextlib.closing(store.query_keys()) as query:
        assert next(query) == "a"  # the query holds the only idle connection
        DAMAGES[damage](path)

        with contextlib.suppress(StoreError):
            assert store.to_bytes("a") == b"1"
        with pytest.raises(StoreConnectionError, match=ADVICE):
            store.from_bytes("b", b"lost")

    restore_directory(path)


LAST_CONNECTION = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT count(*) FROM entry").fetchall()
database.close()
"""


def checkpoint_and_remove_the_log(path: Path) -> None:
    """Do what another process does that believes to be the last one, since the locks of this one were dropped."""
    with path.open("rb") as file:
        file.read()  # closing the file drops the locks
    subprocess.run([sys.executable, "-c", LAST_CONNECTION, path], check=True, capture_output=True, timeout=60)
    assert not beside(path, "-wal").exists()


def test_log_removed_by_sqlite_is_recreated_without_loss(store: SqliteStore, path: Path) -> None:
    for key in ("a", "b", "c"):
        store.from_bytes(key, b"1")
        checkpoint_and_remove_the_log(path)

    with store.transaction():
        store.from_bytes("d", b"1")
        store.delete("a")
    checkpoint_and_remove_the_log(path)

    assert sorted(store.query_keys()) == ["b", "c", "d"]
    store.disconnect()
    assert sorted(run_sql(path, "SELECT key FROM entry")) == [("b",), ("c",), ("d",)]


def test_log_removed_by_sqlite_under_two_stores_loses_no_acknowledged_write(store: SqliteStore, path: Path) -> None:
    acknowledged = []
    with store_at(path) as other:
        for number in range(6):
            writer = (store, other)[number % 2]
            try:
                writer.from_bytes(f"{number}", b"1")
                acknowledged.append(f"{number}")
            except StoreConnectionError:
                writer.disconnect()
                writer.connect()
            checkpoint_and_remove_the_log(path)
        store.disconnect()

    assert set(acknowledged) <= {key for (key,) in run_sql(path, "SELECT key FROM entry")}


NAMES: dict[str, Callable[[Path], Path]] = {
    "itself": lambda path: path,
    "its log": lambda path: beside(path, "-wal"),
    "its index": lambda path: beside(path, "-shm"),
    "a hard link": lambda path: linked(path, os.link),
    "a symbolic link": lambda path: linked(path, os.symlink),
    "a hard link to its log": lambda path: linked(beside(path, "-wal"), os.link),
}


def linked(path: Path, link: Callable[[Path, Path], None]) -> Path:
    other = path.with_name("link")
    link(path, other)
    return other


FILE_CALLS: dict[str, Callable[[FileSystemStore, str], object]] = {
    "to_bytes": lambda files, key: files.to_bytes(key),
    "from_bytes": lambda files, key: files.from_bytes(key, b"new"),
    "delete": lambda files, key: files.delete(key),
}


@pytest.mark.parametrize("call", FILE_CALLS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "a symbolic link"])
def test_file_store_rejects_an_open_database(
    store: SqliteStore, path: Path, recorder: EventRecorder, name: str, call: str
) -> None:
    file = NAMES[name](path)
    files = FileSystemStore(path.parent, event_manager=EventManager())

    with pytest.raises(OpenDatabaseError):
        FILE_CALLS[call](files, file.name)

    store.from_bytes("b", b"1")
    with contextlib.closing(sqlite3.connect(path)) as another:
        assert another.execute("SELECT count(*) FROM entry").fetchone() == (2,)


@pytest.mark.parametrize("name", NAMES)
def test_from_file_and_to_file_reject_an_open_database(
    store: SqliteStore, path: Path, recorder: EventRecorder, name: str
) -> None:
    file = NAMES[name](path)

    with pytest.raises(OpenDatabaseError):
        store.from_file("copy", file)
    with pytest.raises(OpenDatabaseError):
        store.to_file("a", file)

    assert list(store.query_keys()) == ["a"]


def test_closed_database_is_accepted_as_a_file(store: SqliteStore, path: Path, recorder: EventRecorder) -> None:
    files = FileSystemStore(path.parent, event_manager=EventManager())
    store.disconnect()

    data = files.to_bytes("store.db")
    files.from_bytes("copy.db", data)
    files.from_file("again.db", path)

    with store_at(path.with_name("copy.db")) as copy:
        assert copy.to_bytes("a") == b"1"
    assert data.startswith(b"SQLite format 3")
