"""Tests of `SqliteStore.compact`: the database shrinks, and everybody goes on."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import StoreConnectionError, TransactionError, TransactionTimeoutError
from encore_storage.events import StoreProgressEndEvent
from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import MEBIBYTE, ActingSource, run_sql, store_at
from tests.storage.support import LONG, REPOSITORY

KEPT = bytes(range(256)) * 10_000

OTHER = """
import sys
from encore_events import EventManager
from encore_storage.stores import SqliteStore

with SqliteStore(sys.argv[1], event_manager=EventManager()) as store:
    stream = store.get_data("kept")
    head = stream.read(10)
    print("reading", flush=True)
    number = 0
    while not store.exists("stop"):
        store.from_bytes("other", b"%d" % number)
        number += 1
        assert store.to_bytes("other") == b"%d" % (number - 1)
    assert head + stream.read() == bytes(range(256)) * 10_000
    store.from_bytes("after", b"1")
print(number, flush=True)
"""


def fill(store: SqliteStore) -> None:
    """Set one value to keep, and 10 MiB that are deleted again."""
    store.from_bytes("kept", KEPT, {"kind": "kept"})
    for number in range(10):
        store.from_bytes(f"{number}", os.urandom(MEBIBYTE))
    for number in range(10):
        store.delete(f"{number}")


def size_of(store: SqliteStore) -> int:
    """Return the size of the database as SQLite knows it, in bytes."""
    [(size,)] = store._select("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    return int(size)


def test_database_shrinks_to_its_values(either: SqliteStore) -> None:
    fill(either)
    assert size_of(either) > 8 * MEBIBYTE

    either.compact()

    assert size_of(either) < 4 * MEBIBYTE
    assert (either.to_bytes("kept"), either.get_metadata("kept")) == (KEPT, {"kind": "kept"})


def test_file_and_log_shrink(store: SqliteStore, path: Path) -> None:
    fill(store)
    store.compact()

    assert path.stat().st_size < 4 * MEBIBYTE
    assert Path(f"{path}-wal").stat().st_size == 0
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    assert run_sql(path, "PRAGMA page_size") == [(16384,)]
    store.compact()
    store.from_bytes("more", b"1")
    with store_at(path) as again:
        assert sorted(again.query_keys()) == ["kept", "more"]


def test_open_streams_and_queries_go_on(store: SqliteStore, path: Path) -> None:
    fill(store)
    store.from_bytes("other", b"1")
    stream, query = store.get_data("kept"), store.query()
    head, first = stream.read(10), next(query)

    store.compact()
    store.from_bytes("later", b"1")

    assert head + stream.read() == KEPT
    assert [first, *query] == [("kept", {"kind": "kept"}), ("other", {})]
    store.compact()
    assert path.stat().st_size < 4 * MEBIBYTE


def test_other_process_reads_and_writes_on(store: SqliteStore, path: Path) -> None:
    fill(store)
    command = [sys.executable, "-W", "error", "-c", OTHER, str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "reading\n"
        for _ in range(3):
            store.compact()
        store.from_bytes("stop", b"1")
        output, _ = other.communicate(timeout=LONG)

    assert other.returncode == 0
    assert int(output) > 0
    assert sorted(store.query_keys()) == ["after", "kept", "other", "stop"]
    store.compact()
    assert path.stat().st_size < 4 * MEBIBYTE


def test_writer_of_another_thread_waits(store: SqliteStore, other_thread: ThreadPoolExecutor, path: Path) -> None:
    fill(store)
    with store.transaction():
        store.from_bytes("a", b"1")
        compacting = other_thread.submit(store.compact)
        store.from_bytes("b", b"1")
    compacting.result(LONG)

    assert sorted(store.query_keys()) == ["a", "b", "kept"]
    assert path.stat().st_size < 4 * MEBIBYTE


@contextlib.contextmanager
def writing_elsewhere(path: Path) -> Iterator[None]:
    """Let another connection hold the lock of writers."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_other_program_that_writes_is_waited_for(path: Path) -> None:
    with store_at(path, timeout=0.05) as store:
        fill(store)
        with writing_elsewhere(path), pytest.raises(TransactionTimeoutError):
            store.compact()
        store.compact()

    assert path.stat().st_size < 4 * MEBIBYTE


def test_compacting_inside_a_transaction_or_a_write_is_refused(either: SqliteStore) -> None:
    either.from_bytes("a", b"1")
    with either.transaction():
        either.from_bytes("b", b"1")
        with pytest.raises(TransactionError, match="inside its transaction"):
            either.compact()
    with pytest.raises(TransactionError, match="inside its transaction"):
        either.set_data("c", ActingSource(either.compact))

    assert sorted(either.query_keys()) == ["a", "b"]


def test_disconnected_store_is_not_compacted(store: SqliteStore) -> None:
    store.disconnect()

    with pytest.raises(StoreConnectionError):
        store.compact()


def test_compacting_is_an_operation(either: SqliteStore) -> None:
    recorder = EventRecorder(either.event_manager)
    either.compact()

    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.direction, end.key, end.outcome) == ("execute", None, None, "ok")
