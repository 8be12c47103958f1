"""Tests of FileSystemStore with a kill at each system call: values stay whole, in copies of the directory too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import put
from tests.storage.support import run

OLD, NEW = ["old", {"v": 1}], ["new", {"v": 2}]

CALLS: dict[str, tuple[str, Any, Any]] = {
    'store.set("dir/key", (io.BytesIO(b"new"), {"v": 2}))': ("dir/key", OLD, NEW),
    'store.set("dir/key", (io.BytesIO(b"new"), {}))': ("dir/key", OLD, ["new", {}]),
    'store.from_bytes("dir/key", b"new")': ("dir/key", OLD, ["new", {"v": 1}]),
    'store.set("plain", (io.BytesIO(b"new"), {"v": 2}))': ("plain", ["old", {}], NEW),
    'store.set("new/key", (io.BytesIO(b"new"), {"v": 2}))': ("new/key", None, NEW),
    'store.set_metadata("dir/key", {"v": 2})': ("dir/key", OLD, ["old", {"v": 2}]),
    'store.set_metadata("dir/key", {})': ("dir/key", OLD, ["old", {}]),
    'store.set_metadata("new/key", {"v": 2})': ("new/key", None, ["", {"v": 2}]),
    'store.update_metadata("dir/key", {"w": 2})': ("dir/key", OLD, ["old", {"v": 1, "w": 2}]),
    'store.delete("dir/key")': ("dir/key", OLD, None),
    "open_store()": ("dir/key", OLD, OLD),
}

KILLED = """
import fcntl, io, json, os, shutil, signal, sys
from encore_events import EventManager
from encore_storage.stores import FileSystemStore

root, call, key, durable = sys.argv[1:]
CALLS = ("close", "fchmod", "fchown", "fstat", "fsync", "listdir", "listxattr", "mkdir", "open", "pread", "pwrite",
    "read", "replace", "rmdir", "stat", "unlink", "utime", "write")

def open_store(path=root):
    return FileSystemStore(path, event_manager=EventManager(), durable=durable == "True")

def value(path, store=None):
    store = store or open_store(path)
    if not store.exists(key):
        return None
    with store.get(key) as value:
        return value.data.read(-1).decode(), value.metadata

def killing(function):
    def killed(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return killed

def copy(name, copy_function=shutil.copy2):
    path = f"{root}.{name}"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(root, path, copy_function=copy_function)
    return path

shutil.copytree(root, root + ".start")
outcomes, number = [], 0
while True:
    number += 1
    shutil.rmtree(root)
    shutil.copytree(root + ".start", root)
    reader = open_store()
    child = os.fork()
    if not child:
        store, left = open_store(), number
        for name in CALLS:
            setattr(os, name, killing(getattr(os, name)))
        fcntl.flock = killing(fcntl.flock)
        os.supports_dir_fd.add(os.open)
        eval(call)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = {"read by an open store": value(root, reader), "copied before opening": value(copy("copy"))}
    found["opened anew"] = value(root)
    found["copied after opening"] = value(copy("copy"))
    found["copied without times"] = value(copy("copy", shutil.copyfile))
    own = root + "/.encore"
    marks = open(own + "/lock").read().split()
    unfinished = [*os.listdir(own + "/tmp"), *marks, *(
        name for name in os.listdir(own + "/metadata") if '"next"' in open(f"{own}/metadata/{name}").read())]
    outcomes.append((number, status, unfinished, found))
    if status != -signal.SIGKILL:
        break
print(json.dumps(outcomes))
"""


@pytest.fixture
def root(folder: Path) -> Path:
    """Return an empty directory in memory, because it is copied hundreds of times."""
    root = folder / "root"
    root.mkdir()
    return root


@pytest.mark.parametrize("durable", [False, True], ids=["", "durable"])
@pytest.mark.parametrize("call", CALLS)
def test_kill_at_any_system_call_leaves_the_value_whole(
    root: Path, store: FileSystemStore, call: str, durable: bool
) -> None:
    key, old, new = CALLS[call]
    put(store, "dir/key", b"old", v=1)
    put(store, "plain", b"old")

    outcomes = json.loads(run(KILLED, root, call, key, durable, forks=True))

    assert len(outcomes) > 10
    for number, status, left, found in outcomes:
        values = {json.dumps(each) for each in found.values()}
        assert len(values) == 1, f"killed at call {number}: {found}"
        assert found["opened anew"] in ([old, new] if status else [new]), number
        assert left == [], number
    assert outcomes[-1][1] == 0
