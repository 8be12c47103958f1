"""A kill at any system call loses no acknowledged change, and no change is applied in part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaign.support import CASES
from tests.storage.support import run

pytestmark = pytest.mark.usefixtures("strace")

CALLS = {
    "from_bytes": 'store.from_bytes("a", b"new")',
    "set": 'store.set("a", (io.BytesIO(b"new"), {"v": 2}))',
    "large value": 'store.set("a", (io.BytesIO(b"new" * 500_000), {"v": 2}))',
    "new key": 'store.from_bytes("new", b"new")',
    "set_metadata": 'store.set_metadata("a", {"v": 2})',
    "delete": 'store.delete("a")',
    "transaction": """
with store.transaction("t"):
    store.from_bytes("a", b"new")
    store.delete("b")
    store.from_bytes("c", b"new")
""",
    "rollback": """
try:
    with store.transaction("t"):
        store.from_bytes("a", b"new")
        store.delete("b")
        raise KeyError
except KeyError:
    pass
""",
}
WITHOUT_TRANSACTIONS = [name for name in CALLS if name not in {"transaction", "rollback"}]

KILLED = """
import ctypes, hashlib, io, json, os, shutil, signal, sqlite3, subprocess, sys
from collections import Counter
from encore_events import EventManager
from encore_storage.stores import FileSystemStore, SqliteStore

root, kind, call = sys.argv[1:]
work, start = root + "/work", root + "/start"
os.makedirs(work)
STEPS = (lambda store: store.from_bytes("first", b"1"), lambda store: exec(call), lambda store: None)
UNRELATED = {"mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "futex", "rt_sigreturn", "rt_sigaction",
    "rt_sigprocmask", "exit_group", "restart_syscall", "getpid", "gettid", "clock_gettime", "getrandom"}

def open_store():
    if kind == "sqlite":
        return SqliteStore(work + "/store.db", event_manager=EventManager())
    return FileSystemStore(work, create=True, event_manager=EventManager(), durable=True)

def content():
    store = open_store()
    try:
        digest = lambda key: hashlib.sha256(store.to_bytes(key)).hexdigest()
        return {key: (digest(key), store.get_metadata(key)) for key in store.query_keys()}
    finally:
        store.disconnect()

def check_whole():
    if kind == "sqlite":
        database = sqlite3.connect(work + "/store.db")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        used = "SELECT count(*) FROM chunk WHERE blob NOT IN (SELECT blob FROM entry)"
        assert database.execute(used).fetchall() == [(0,)]
        database.close()
    else:
        assert os.listdir(work + "/.encore/tmp") == []

def restore():
    shutil.rmtree(work)
    shutil.copytree(start, work)

def traced(*options):
    go, acknowledged = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # any process may trace this one
        os.close(go[1])
        os.read(go[0], 1)
        store = open_store()
        for step in STEPS:
            step(store)
            os.write(acknowledged[1], b".")
        store.disconnect()
        os._exit(0)
    os.close(acknowledged[1])
    tracer = subprocess.Popen(["strace", "-f", "-p", str(child), *options], stderr=subprocess.PIPE, text=True)
    assert "attached" in (line := tracer.stderr.readline()), line
    os.close(go[1])
    os.close(go[0])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tracer.communicate()
    number = len(os.read(acknowledged[0], 100))
    os.close(acknowledged[0])
    return status, number

store = open_store()
for key in ("a", "b"):
    store.set(key, (io.BytesIO(b"old"), {"v": 1}))
store.disconnect()
shutil.copytree(work, start)

states = [content()]
store = open_store()
for step in STEPS:
    step(store)
    store.disconnect()
    states.append(content())
    store.connect()
store.disconnect()

restore()
assert traced("-o", root + "/calls") == (0, len(STEPS))
calls = Counter()
with open(root + "/calls") as lines:
    for line in lines:
        name = line.split()[1].partition("(")[0]
        if name.isidentifier() and name not in UNRELATED:
            calls[name] += 1

outcomes = []
for name, number in sorted(calls.items()):
    for moment in range(1, number + 1):
        restore()
        status, acknowledged = traced("-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={moment}")
        found = content()
        check_whole()
        outcomes.append((f"{name} {moment}", status, found in states[acknowledged : acknowledged + 2]))
print(json.dumps(outcomes))
"""


def kill_at_each_call(directory: Path, kind: str, call: str) -> int:
    """Kill a process at each of its system calls in turn, check the store, and return the number of kills."""
    outcomes = json.loads(run(KILLED, directory, kind, call, forks=True))

    assert [name for name, _, is_whole in outcomes if not is_whole] == []
    survived = [name.split()[0] for name, status, _ in outcomes if status != -9]
    assert survived in ([], ["read"])  # the tracer may attach before or during the first read
    return len(outcomes) - len(survived)


@pytest.mark.parametrize("name", CALLS)
def test_kill_at_any_system_call_leaves_database_consistent(
    tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    number = kill_at_each_call(tmp_path, "sqlite", CALLS[name])

    assert number > 50
    record_property(CASES, number)


@pytest.mark.parametrize("name", WITHOUT_TRANSACTIONS)
def test_kill_at_any_system_call_leaves_directory_consistent(
    tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    number = kill_at_each_call(tmp_path, "files", CALLS[name])

    assert number > 50
    record_property(CASES, number)
