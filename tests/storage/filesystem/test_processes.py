"""Tests of FileSystemStore with several threads and processes in one directory, some of them killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from encore_storage.errors import ConflictError, KeyNotFoundError
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import pair, put, scratch_in, store_in
from tests.storage.support import LONG, run

KILLS = 50

KILLED = """
import io, json, os, signal, sys
from encore_events import EventManager
from encore_storage.stores import FileSystemStore

KEYS = ("a", "dir/b", "dir/deep/c")

def open_store():
    return FileSystemStore(sys.argv[1], event_manager=EventManager())

def content(number):
    return b"%08d" % number * 8192

def read(store, key):
    with store.get(key) as value:
        data, metadata = value.data.read(-1), value.metadata
    number = int(data[:8])
    assert data == content(number), f"{key} is a mixture of {sorted(set(data))}"
    assert metadata == {"number": number}, f"{key} has the metadata {metadata} with the bytes of {number}"
    return number

def write_until_killed(pipe, number):
    store = open_store()
    while True:
        for key in KEYS:
            os.write(pipe, b"begin %d\\n" % number)
            store.set(key, (io.BytesIO(content(number)), {"number": number}), buffer_size=8192)
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
        for _ in range(1 + kill % 7):
            output.readline()
        for _ in range(kill * 1500 % 40000):
            pass
        os.kill(child, signal.SIGKILL)
        done = [int(line.split()[1]) for line in output if line.startswith(b"done")]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return done

store, number, left = open_store(), 0, 0
for key in KEYS:
    store.set(key, (io.BytesIO(content(number)), {"number": number}))
for kill in range(int(sys.argv[2])):
    done = kill_one(kill, number + 1)
    left += len(os.listdir(sys.argv[1] + "/.encore/tmp"))
    store = open_store()
    assert sorted(store.query_keys()) == sorted(KEYS)
    assert os.listdir(sys.argv[1] + "/.encore/tmp") == []
    numbers = [read(store, key) for key in KEYS]
    assert max(numbers) >= max(done, default=0), f"{done} were acknowledged, but {numbers} are there"
    number = max(numbers)
print(json.dumps({"number": number, "left": left}))
"""

UPDATING = """
import os, sys
from encore_events import EventManager
from encore_storage.stores import FileSystemStore

children = []
for process in range(4):
    child = os.fork()
    if not child:
        store = FileSystemStore(sys.argv[1], event_manager=EventManager())
        for index in range(25):
            store.update_metadata("shared", {f"{process}-{index}": index})
            store.from_bytes(f"dir/deep/{process}", b"1")
            store.delete(f"dir/deep/{process}")
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
"""


@pytest.fixture
def at_once(pool: ThreadPoolExecutor) -> Callable[..., None]:
    """Return a function that runs functions in threads that start together, and raises their errors."""

    def run_all(*functions: Callable[[], object]) -> None:
        barrier = Barrier(len(functions))

        def run_one(function: Callable[[], object]) -> None:
            barrier.wait(LONG)
            function()

        for future in [pool.submit(run_one, function) for function in functions]:
            future.result(LONG)

    return run_all


def test_killed_process_leaves_each_key_whole(root: Path) -> None:
    report = json.loads(run(KILLED, root, KILLS))

    assert report["number"] > KILLS
    assert report["left"] > 0  # some were killed while writing a file


def test_concurrent_processes_lose_no_update(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("shared", b"1")

    run(UPDATING, root)

    assert store.get_metadata("shared") == {f"{process}-{index}": index for process in range(4) for index in range(25)}
    assert list(store.query_keys()) == ["shared"]
    assert not (root / "dir").exists()


def test_concurrent_threads_never_mix_bytes_and_metadata(
    root: Path, store: FileSystemStore, at_once: Callable[..., None]
) -> None:
    put(store, "a", b"0", writer="0")
    other = store_in(root)
    conflicts = []

    def write(store: FileSystemStore, writer: str) -> None:
        for _ in range(40):
            put(store, "a", writer.encode() * 1000, writer=writer)

    def read(store: FileSystemStore) -> None:
        for _ in range(80):
            try:
                data, metadata = pair(store, "a")
            except ConflictError as error:
                conflicts.append(error)
                continue
            assert set(data.decode()) == {metadata["writer"]}

    at_once(
        lambda: write(store, "1"),
        lambda: write(store, "2"),
        lambda: write(other, "3"),
        lambda: read(store),
        lambda: read(other),
    )

    assert len(conflicts) < 160
    assert scratch_in(root) == []


def test_concurrent_threads_create_and_remove_a_directory(
    root: Path, store: FileSystemStore, at_once: Callable[..., None]
) -> None:
    def fill_and_empty(store: FileSystemStore, key: str) -> None:
        for _ in range(40):
            store.from_bytes(key, b"1")
            assert store.to_bytes(key) == b"1"
            store.delete(key)

    at_once(
        lambda: fill_and_empty(store, "d/e/1"),
        lambda: fill_and_empty(store, "d/e/2"),
        lambda: fill_and_empty(store_in(root), "d/e/3"),
    )

    assert not (root / "d").exists()


def test_only_one_of_several_concurrent_deletes_succeeds(store: FileSystemStore, at_once: Callable[..., None]) -> None:
    put(store, "a/b", b"1", kind="k")
    missed = []

    def delete() -> None:
        try:
            store.delete("a/b")
        except KeyNotFoundError as error:
            missed.append(error)

    at_once(*[delete] * 4)

    assert len(missed) == 3
