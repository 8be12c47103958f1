"""Tests of SqliteStore in forked children: a write either succeeds durably, or raises an error with advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forking import FORKS, run_forking
from tests.storage.sqlite.support import run_sql

BEGIN = """
import contextlib, ctypes, gc, io, multiprocessing, os, signal, sqlite3, sys, threading
from encore_events import BaseEvent, EventManager
from encore_events.errors import ForkedError
from encore_events.testing import EventRecorder
from encore_storage.errors import StoreConnectionError, StoreError
from encore_storage.events import *
from encore_storage.stores import SqliteStore
from encore_storage.utils import StoreProgressManager
from tests.forking import *

path, MIB = sys.argv[1], 1 << 20
manager = EventManager()
store = SqliteStore(path, event_manager=manager, timeout=5)
store.from_bytes("parent", b"1")

def result(write):
    try:
        write()
        return "stored"
    except StoreError as error:
        return f"{type(error).__name__}: {error}"

def writes():
    "Return the results of a write by the parent's store, and of one by a store of the child."
    own = lambda: SqliteStore(path, event_manager=EventManager(), timeout=5).from_bytes("own", b"1")
    return result(lambda: store.from_bytes("child", b"1")), result(own)

def are_rejected(results):
    return all("StoreConnectionError" in each and "fork before it is opened" in each for each in results)

def open_files():
    "Return the names of the database's files that this process has open."
    paths = (os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))
    return sorted(os.path.basename(each) for each in paths if "store.db" in each)

def exit_status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

STORED = "('stored', 'stored')"


def run(program: str, path: Path, *arguments: object) -> list[str]:
    """Return the lines that a program prints, after checking the integrity of its database."""
    printed = run_forking(BEGIN + program, path, *arguments)
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    return printed


def keys(path: Path) -> set[str]:
    return {key for (key,) in run_sql(path, "SELECT key FROM entry")}


HOLDERS = {
    "another store": "holder = SqliteStore(path, event_manager=EventManager()).get_data('large')\nholder.read(1)",
    "SQLite": "holder = sqlite3.connect(path)\nholder.execute('SELECT 1 FROM entry').fetchall()",
    "SQLite by a symbolic link": "os.symlink(path, path + '.link')\nholder = sqlite3.connect(path + '.link')\n"
    "holder.execute('SELECT 1 FROM entry').fetchall()",
    "SQLite by a hard link": "os.link(path, path + '.link')\nholder = sqlite3.connect(path + '.link')\n",
    "a file": "holder = open(path, 'rb')",
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_child_is_rejected_while_its_parent_has_the_file_open(path: Path, holder: str) -> None:
    printed = run(
        f"""
store.from_bytes("large", bytes(2 * MIB + 1))
{HOLDERS[holder]}
print(forked(lambda: are_rejected(writes())))
holder.close()
store.from_bytes("later", b"1")
""",
        path,
    )

    assert printed == ["True"]
    assert keys(path) == {"parent", "large", "later"}


@pytest.mark.parametrize("holder", HOLDERS)
def test_child_may_write_if_the_file_was_closed_before_the_fork(path: Path, holder: str) -> None:
    printed = run(
        f"""
store.from_bytes("large", bytes(2 * MIB + 1))
{HOLDERS[holder]}
holder.close()
store.connect()
print(forked(writes))
store.disconnect()
""",
        path,
    )

    assert printed == [STORED]
    assert keys(path) == {"parent", "large", "child", "own"}


def test_child_writes_survive_writes_and_disconnect_of_the_parent(path: Path) -> None:
    printed = run(
        """
def work():
    for number in range(20):
        store.from_bytes(f"child {number}", b"1")
    return "stored"
reading, go = os.pipe()
child = fork()
if not child:
    store.from_bytes("first", b"1")
    os.write(go, b".")
    print(work(), flush=True)
    os._exit(0)
os.read(reading, 1)
for number in range(20):
    store.from_bytes(f"parent {number}", b"1")
store.disconnect()
print(exit_status(child))
""",
        path,
    )

    assert sorted(printed) == ["0", "stored"]
    assert len(keys(path)) == 42


def test_child_may_write_after_closing_inherited_descriptors(path: Path) -> None:
    printed = run(
        """
holder = os.open(path, os.O_RDONLY)
def work():
    before = are_rejected(writes())
    os.close(holder)
    return before, writes()
print(forked(work))
""",
        path,
    )

    assert printed == [f"(True, {STORED})"]


BUSY = {
    "a transaction": """
def work():
    with store.transaction():
        store.from_bytes("busy", b"1")
        wait()
""",
    "a write": """
class Source:
    left = 3
    def read(self, size):
        self.left -= 1
        if self.left == 1:
            wait()
        return bytes(size) if self.left > 0 else b""
def work():
    store.set("busy", (Source(), {}))
""",
    "a query": """
def work():
    for key, metadata in store.query():
        wait()
""",
    "a stream": """
def work():
    with store.get_data("large") as data:
        data.read(1)
        wait()
""",
}


@pytest.mark.parametrize("busy", BUSY)
def test_child_is_rejected_while_the_store_is_in_use(path: Path, busy: str) -> None:
    printed = run(
        f"""
store.from_bytes("large", bytes(2 * MIB))
waiting, resuming = threading.Event(), threading.Event()
def wait():
    waiting.set()
    resuming.wait()
{BUSY[busy]}
thread = threading.Thread(target=work)
thread.start()
waiting.wait()
print(forked(lambda: are_rejected(writes())))
resuming.set()
thread.join()
store.from_bytes("later", b"1")
store.connect()
print(forked(writes))
""",
        path,
    )

    assert printed == ["True", STORED]
    assert keys(path) >= {"later", "child", "own"}


def test_transaction_belongs_to_the_parent(path: Path) -> None:
    printed = run(
        """
recorder = EventRecorder(manager)
def work():
    begin, leave = (lambda: store.transaction().__enter__()), (lambda: entry.__exit__(None, None, None))
    results = are_rejected(writes()), result(begin)[:30], result(leave)[:17]
    return results, recorder.of(StoreModificationEvent), recorder.of(StoreTransactionEndEvent)
entry = store.transaction("t")
entry.__enter__()
store.from_bytes("a", b"1")
print(forked(work))
store.from_bytes("b", b"1")
entry.__exit__(None, None, None)
print(recorder.one(StoreTransactionEndEvent).outcome, [event.key for event in recorder.of(StoreModificationEvent)])
""",
        path,
    )

    assert "ForkedStoreError:" in printed[0]
    assert printed[0].endswith(", [], [])")
    assert printed[1] == "committed ['a', 'b']"
    assert keys(path) == {"parent", "a", "b"}


def test_write_during_which_a_source_forks_belongs_to_the_parent(path: Path) -> None:
    printed = run(
        """
reading, writing = os.pipe()
class Source:
    left, child = 3, None
    def read(self, size):
        self.left -= 1
        if self.left == 1:
            self.child = fork()
        return bytes(size) if self.left > 0 else b""
source, recorder = Source(), EventRecorder(manager)
written = result(lambda: store.set("a", (source, {})))
if source.child == 0:
    os.write(writing, repr((written.partition(":")[0], recorder.of(StoreModificationEvent))).encode())
    os._exit(0)
print(written, exit_status(source.child), os.read(reading, 1000).decode())
""",
        path,
    )

    assert printed[0].startswith("stored 0 (")
    assert "stored" not in printed[0].removeprefix("stored")
    assert printed[0].endswith(", [])")
    assert keys(path) == {"parent", "a"}


@pytest.mark.parametrize("event", ["StoreSetEvent", "StoreProgressStartEvent", "StoreProgressEndEvent"])
def test_child_forked_by_a_listener_loses_nothing(path: Path, event: str) -> None:
    printed = run(
        f"""
children = []
def listen(event):
    subscription.disconnect()
    children.append(forked(writes))
subscription = manager.connect({event}, listen)
store.from_bytes("a", b"1")
print(*children)
""",
        path,
    )

    assert printed[0].count("stored") == len(keys(path) & {"child", "own"})
    assert keys(path) >= {"parent", "a"}


def test_idle_connections_are_closed_before_a_fork_and_reopened_by_the_parent(path: Path) -> None:
    printed = run(
        """
store.to_bytes("parent")
before = open_files()
print(forked(open_files), open_files())
store.to_bytes("parent")
store.from_bytes("a", b"1")
print(len(set(open_files())) == len(set(before)) > 1)
""",
        path,
    )

    assert printed == ["[] []", "True"]


def test_memory_database_belongs_to_the_parent(path: Path) -> None:
    printed = run(
        """
memory = SqliteStore(event_manager=manager)
memory.from_bytes("a", b"1")
stream = memory.get_data("a")
print(forked(lambda: (result(lambda: memory.from_bytes("b", b"1")), result(lambda: memory.to_bytes("a")))))
print(stream.read(), memory.to_bytes("a"), list(memory.query_keys()))
""",
        path,
    )

    assert printed[0].count("StoreConnectionError") == 2
    assert printed[1] == "b'1' b'1' ['a']"


def test_open_streams_and_transactions_continue_in_the_parent(path: Path) -> None:
    printed = run(
        """
store.from_bytes("large", bytes(3 * MIB))
stream, query = store.get_data("large"), store.query_keys()
size = len(stream.read(1)) + len(next(query)) * 0
with store.transaction():
    store.from_bytes("a", b"1")
    for _ in range(3):
        assert forked(lambda: gc.collect() * 0) == "0"
    store.from_bytes("large", b"new")
size += len(stream.read())
print(size == 3 * MIB, list(query), store.to_bytes("large"))
""",
        path,
    )

    assert printed == ["True ['parent'] b'new'"]
    assert keys(path) == {"parent", "large", "a"}


def test_grandchild_is_treated_like_a_child(path: Path) -> None:
    printed = run(
        """
def work():
    store.from_bytes("child 1", b"1")
    stored = forked(writes)
    stream = store.get_data("parent")
    holder = open(path, "rb")
    return stored, forked(lambda: are_rejected(writes()))
print(forked(work))
store.from_bytes("later", b"1")
""",
        path,
    )

    assert printed == [repr((STORED, "True"))]
    assert keys(path) == {"parent", "child 1", "child", "own", "later"}


def test_pool_of_forked_processes_loses_nothing(path: Path) -> None:
    printed = run(
        """
def write(number):
    store.from_bytes(f"pooled {number}", b"1")
    return number
warnings.simplefilter("ignore", DeprecationWarning)
with multiprocessing.get_context("fork").Pool(3) as pool:
    numbers = pool.map(write, range(30))
    store.from_bytes("later", b"1")
    pool.close()
    pool.join()
print(sorted(numbers) == list(range(30)))
""",
        path,
    )

    assert printed == ["True"]
    assert len(keys(path)) == 32


def test_fork_without_hooks_is_rejected_until_the_parents_files_are_closed(path: Path) -> None:
    printed = run(
        """
print(forked(lambda: are_rejected(writes()), FORKS["without hooks"]))
store.from_bytes("later", b"1")
store.disconnect()
def work():
    store.connect()
    return writes()
print(forked(work, FORKS["without hooks"]))
""",
        path,
    )

    assert printed == ["True", STORED]
    assert keys(path) == {"parent", "later", "child", "own"}


USES = {
    "stream": ("using = store.get_data('large')\nusing.read(1)", "using.read()"),
    "query": ("using = store.query()\nnext(using)", "list(using)"),
    "query_keys": ("using = store.query_keys()\nnext(using)", "list(using)"),
    "transaction": ("using = store.transaction('t')\nusing.__enter__()", "using.__exit__(None, None, None)"),
    "progress": ("using = StoreProgressManager(manager, message='m')\nusing.__enter__()", "using.end()"),
    "a step of progress": (
        "StoreProgressManager.min_interval = 0\nusing = StoreProgressManager(manager, message='m')\nusing.__enter__()",
        "using(step=1)",
    ),
    "hold": ("using = manager.hold(BaseEvent)\nusing.__enter__()\nmanager.emit(BaseEvent())", "using.release()"),
}


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("use", USES)
def test_use_of_the_parents_objects_raises_in_the_child_and_emits_nothing(path: Path, use: str, kind: str) -> None:
    before, using = USES[use]
    printed = run(
        f"""
store.from_bytes("large", bytes(2 * MIB))
{before}
recorder = EventRecorder(manager)
def work():
    try:
        {using}
    except (StoreError, ForkedError) as error:
        outcome = isinstance(error, ForkedError) or "forked" in str(error)
    else:
        outcome = "no error"
    gc.collect()
    return outcome, recorder.events
print(forked(work, FORKS[{kind!r}]))
""",
        path,
    )

    assert printed == ["(True, [])"]


ENDINGS = {
    "at once": "pass",
    "after a disconnect": "store.disconnect()",
    "after a collection": "del store, stream, holder\ngc.collect()",
}


@pytest.mark.parametrize("is_inside", [False, True], ids=["", "inside a transaction"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_exiting_child_leaves_the_log_to_its_parent(path: Path, ending: str, is_inside: bool) -> None:
    printed = run(
        f"""
stream, holder = store.query(), sqlite3.connect(path)
next(stream)
holder.execute("SELECT 1 FROM entry").fetchall()
before = os.stat(path + "-wal").st_ino
with store.transaction() if {is_inside} else contextlib.nullcontext():
    store.from_bytes("a", b"1")
    child = fork()
    if child == 0:
        with contextlib.suppress(ForkedError):
            exec({ENDINGS[ending]!r})
        sys.exit(0)
    print(exit_status(child), os.stat(path + "-wal").st_ino == before)
store.from_bytes("b", b"1")
print(sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall(), sorted(store.query_keys()))
""",
        path,
    )

    assert printed == ["0 True", "[('ok',)] ['a', 'b', 'parent']"]
