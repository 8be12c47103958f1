"""Tests of SqliteStore with several processes: forked, concurrent and killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import run_sql
from tests.storage.support import run

KILLS = 50

KILLED = """
import contextlib, io, json, os, signal, sqlite3, sys
from encore_events import EventManager
from encore_storage.stores import SqliteStore

TOGETHER = ("a", "b", "c")
LARGE = 2_500_000

def open_store():
    return SqliteStore(sys.argv[1], event_manager=EventManager())

def content(number, size):
    return (b"%08d" % number * (size // 8 + 1))[:size]

def write(store, key, number, size):
    store.set(key, (io.BytesIO(content(number, size)), {"number": number, "size": size}), buffer_size=100_000)

def read(store, key):
    with store.get(key) as value:
        data, metadata = value.data.read(-1), value.metadata
    assert data == content(metadata["number"], metadata["size"]), f"{key} is a mixture of writes"
    return metadata["number"]

def write_until_killed(pipe, number):
    store = open_store()
    while True:
        os.write(pipe, b"begin %d\\n" % number)
        if number % 3:
            with store.transaction():
                for key in TOGETHER:
                    write(store, key, number, number % 5 * 40_000)
        else:
            write(store, "large", number, LARGE)
        os.write(pipe, b"done %d\\n" % number)
        number += 1

def kill_one(kill, number):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        write_until_killed(writing, number)
    os.close(writing)
    with open(reading, "rb") as output:
        lines = [output.readline() for _ in range(1 + kill % 7)]
        for _ in range(kill * 2500 % 60000):
            pass
        os.kill(child, signal.SIGKILL)
        lines += output.readlines()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return [int(line.split()[1]) for line in lines if line.startswith(b"done")], lines[-1].startswith(b"begin")

with open_store() as store:
    for key in (*TOGETHER, "large"):
        write(store, key, 0, 0)
number, unfinished = 0, 0
for kill in range(int(sys.argv[2])):
    done, is_unfinished = kill_one(kill, number + 1)
    unfinished += is_unfinished
    with open_store() as store:
        assert sorted(store.query_keys()) == sorted([*TOGETHER, "large"])
        together = {read(store, key) for key in TOGETHER}
        assert len(together) == 1, f"a transaction was torn: {together}"
        number = max(*together, read(store, "large"))
        assert number >= max(done, default=0), f"{done} were acknowledged, but the last is {number}"
    with contextlib.closing(sqlite3.connect(sys.argv[1])) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [rows] = connection.execute("SELECT count(*), (SELECT sum((size + 1048575) / 1048576) FROM entry) FROM chunk")
        assert rows[0] == rows[1], "rows were left behind"
print(json.dumps({"number": number, "unfinished": unfinished}))
"""

COUNTING = """
import os, sys
from encore_events import EventManager
from encore_storage.stores import SqliteStore

children = []
for process in range(3):
    child = os.fork()
    if not child:
        store = SqliteStore(sys.argv[1], event_manager=EventManager())
        for index in range(30):
            with store.transaction():
                count = store.get_metadata("count")["count"]
                store.set_metadata("count", {"count": count + 1})
            store.from_bytes(f"{process}-{index}", bytes(1000))
            assert store.get_metadata("count")["count"] > count
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
"""

FORKED = """
import contextlib, gc, os, sys
from encore_events import EventManager
from encore_storage.errors import StoreError, TransactionAbortedError
from encore_storage.stores import SqliteStore

LARGE = bytes(2 << 20) + b"end"

def in_child(act):
    child = os.fork()
    if not child:
        act()
        gc.collect()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0

def is_rejected(call):
    try:
        call()
    except StoreError as error:
        return "forked" in str(error)

store = SqliteStore(sys.argv[1], event_manager=EventManager())
store.from_bytes("a", LARGE)
assert store.to_bytes("a") == LARGE

@in_child
def uses_the_store_of_its_parent():
    assert store.to_bytes("a") == LARGE
    with store.transaction():
        store.from_bytes("b", b"child")
    store.disconnect()
    store.connect()
    assert store.to_bytes("b") == b"child"

assert store.to_bytes("b") == b"child"

@in_child
def leaves_the_store_alone():
    pass

@in_child
def drops_the_store():
    global store
    del store

data = store.get_data("a")
start = data.read(10)

@in_child
def cannot_read_a_stream_of_its_parent():
    assert is_rejected(data.read)
    data.close()

@in_child
def cannot_use_a_database_that_was_in_use():
    assert is_rejected(lambda: store.to_bytes("a"))
    assert is_rejected(lambda: store.from_bytes("a", b"child"))
    assert is_rejected(lambda: SqliteStore(sys.argv[1], event_manager=EventManager()))

@in_child
def closes_a_stream_of_its_parent():
    data.close()

assert start + data.read() == LARGE

try:
    with store.transaction():
        store.from_bytes("a", b"parent")

        @in_child
        def is_not_in_the_transaction_of_its_parent():
            assert is_rejected(lambda: store.to_bytes("a"))
            assert is_rejected(lambda: store.from_bytes("a", b"child"))
            assert is_rejected(lambda: store.transaction().__enter__())

        assert store.to_bytes("a") == b"parent"
        raise KeyError
except KeyError:
    assert store.to_bytes("a") == LARGE
store.from_bytes("a", b"parent")
assert SqliteStore(sys.argv[1], event_manager=EventManager()).to_bytes("a") == b"parent"

memory = SqliteStore(event_manager=EventManager())
memory.from_bytes("a", LARGE)
stream = memory.get_data("a")

@in_child
def cannot_use_a_memory_database():
    assert is_rejected(lambda: memory.exists("a"))
    assert is_rejected(lambda: memory.from_bytes("a", b"1"))
    assert is_rejected(lambda: memory.transaction().__enter__())
    assert is_rejected(stream.read)
    memory.disconnect()

assert stream.read() == LARGE
memory.from_bytes("a", b"1")
"""


def test_killed_process_leaves_each_transaction_whole(path: Path) -> None:
    report = json.loads(run(KILLED, path, KILLS))

    assert report["number"] > KILLS
    assert report["unfinished"] > KILLS // 5


def test_concurrent_processes_lose_no_write(store: SqliteStore, path: Path) -> None:
    store.set_metadata("count", {"count": 0})
    store.disconnect()  # so that children can use the database

    run(COUNTING, path)

    store.connect()
    assert store.get_metadata("count") == {"count": 90}
    assert len(list(store.query_keys())) == 91
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]


def test_forked_child_reopens_a_file_and_rejects_a_memory_database(path: Path) -> None:
    run(FORKED, path, forks=True)

    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("location", ["file", "memory"])
def test_exiting_child_does_not_disturb_its_parent(path: Path, location: str) -> None:
    run(
        "import os, sys\n"
        "from encore_storage.stores import SqliteStore\n"
        "store = SqliteStore(sys.argv[1])\n"
        "store.from_bytes('a', b'1')\n"
        "child = os.fork()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert store.to_bytes('a') == b'1'\n"
        "    store.from_bytes('a', b'2')\n",
        path if location == "file" else ":memory:",
        forks=True,
    )
