"""Tests of SqliteStore in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from encore_storage.errors import TransactionTimeoutError
from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import MEBIBYTE, store_at
from tests.storage.support import run

FILES = """
import os
from encore_events import EventManager
from encore_storage.stores import SqliteStore

def failing():
    yield bytes(1 << 20)
    raise OSError

def files():
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sorted(os.readlink(link) for link in links if os.path.exists(link) and os.path.isfile(link))

class Source:
    def __init__(self, chunks):
        self.chunks = chunks
    def read(self, size):
        seen.update(files())
        return next(self.chunks, b"")

before, seen = files(), set()
store = SqliteStore(event_manager=EventManager())
for number in range(3):
    with store.transaction():
        for key in "abc":
            store.set(key, (Source(iter([os.urandom(1 << 20)] * 8)), {}))
        try:
            store.set("a", (Source(failing()), {}))
        except OSError:
            pass
        seen.update(files())
print(sorted(seen - set(before)), os.listdir("."))
"""


def test_memory_stores_share_nothing(memory: SqliteStore) -> None:
    memory.from_bytes("a", b"1")

    assert not store_at(":memory:").exists("a")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_memory_store_writes_nothing_to_disk(tmp_path: Path) -> None:
    program = f"import os, sys; sys.path.insert(0, os.getcwd()); os.chdir({str(tmp_path)!r})\n{FILES}"

    assert run(program) == "[] []\n"


def test_memory_store_survives_a_disconnect(memory: SqliteStore) -> None:
    memory.from_bytes("a", b"1")
    memory.disconnect()
    memory.connect()

    assert memory.to_bytes("a") == b"1"


def test_memory_store_is_never_readonly(memory: SqliteStore) -> None:
    assert not memory.info()["readonly"]


def test_another_task_reads_committed_bytes(memory: SqliteStore) -> None:
    memory.from_bytes("a", b"old")

    async def read() -> bytes:
        return memory.to_bytes("a")

    async def write() -> bytes:
        with memory.transaction():
            memory.from_bytes("a", b"new")
            return await asyncio.create_task(read())

    assert asyncio.run(write()) == b"old"
    assert memory.to_bytes("a") == b"new"


def test_open_stream_does_not_block_writers(memory: SqliteStore) -> None:
    memory.from_bytes("a", bytes(2 * MEBIBYTE))
    with memory.get_data("a") as data, memory.query() as found:
        data.read(1)
        next(found)

        memory.from_bytes("b", b"1")

    assert memory.to_bytes("b") == b"1"


def test_read_by_a_finalizer_during_a_commit_raises_a_timeout_error(memory: SqliteStore) -> None:
    memory.from_bytes("a", b"1")
    database = memory._opened
    database.begin()
    database.write("DELETE FROM entry")
    errors = []

    with database._turn.taken():  # type: ignore[attr-defined] # the database is in memory
        database._end_reading()  # type: ignore[attr-defined] # as above
        try:
            database.read("SELECT key FROM entry")
        except TransactionTimeoutError as error:
            errors.append(error)
        database.rollback()

    assert len(errors) == 1
    assert memory.exists("a")
