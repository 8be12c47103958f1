"""A forked child is never told that something is stored which is lost: it is served, or refused with advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forking import FORKS, run_forking
from tests.storage.sqlite.support import ask

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

def told(write):
    try:
        write()
        return "stored"
    except StoreError as error:
        return f"{type(error).__name__}: {error}"

def writes():
    "What the child is told by the store of its parent, and by one of its own."
    own = lambda: SqliteStore(path, event_manager=EventManager(), timeout=5).from_bytes("own", b"1")
    return told(lambda: store.from_bytes("child", b"1")), told(own)

def is_refused(answers):
    return all("StoreConnectionError" in each and "fork before it is opened" in each for each in answers)

def opened():
    "The names of the files of the database that this process has open."
    paths = (os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))
    return sorted(os.path.basename(each) for each in paths if "store.db" in each)

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

SERVED = "('stored', 'stored')"


def run(program: str, path: Path, *arguments: object) -> list[str]:
    """What a program prints, whose database is sound afterwards."""
    printed = run_forking(BEGIN + program, path, *arguments)
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    return printed


def keys(path: Path) -> set[str]:
    return {key for (key,) in ask(path, "SELECT key FROM entry")}


HOLDERS = {
    "another store": "holder = SqliteStore(path, event_manager=EventManager()).get_data('large')\nholder.read(1)",
    "SQLite": "holder = sqlite3.connect(path)\nholder.execute('SELECT 1 FROM entry').fetchall()",
    "SQLite by a symbolic link": "os.symlink(path, path + '.link')\nholder = sqlite3.connect(path + '.link')\n"
    "holder.execute('SELECT 1 FROM entry').fetchall()",
    "SQLite by a hard link": "os.link(path, path + '.link')\nholder = sqlite3.connect(path + '.link')\n",
    "a file": "holder = open(path, 'rb')",
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_child_is_refused_what_anything_of_its_parent_has_open(path: Path, holder: str) -> None:
    printed = run(
        f"""
store.from_bytes("large", bytes(2 * MIB + 1))
{HOLDERS[holder]}
print(forked(lambda: is_refused(writes())))
holder.close()
store.from_bytes("later", b"1")
""",
        path,
    )

    assert printed == ["True"]
    assert keys(path) == {"parent", "large", "later"}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_child_is_served_when_it_was_closed_before_the_fork(path: Path, holder: str) -> None:
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

    assert printed == [SERVED]
    assert keys(path) == {"parent", "large", "child", "own"}


def test_a_child_is_served_by_what_it_writes_while_its_parent_goes_on_and_lets_go(path: Path) -> None:
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
print(ended(child))
""",
        path,
    )

    assert sorted(printed) == ["0", "stored"]
    assert len(keys(path)) == 42


def test_a_child_is_served_once_it_has_closed_what_it_has_inherited(path: Path) -> None:
    printed = run(
        """
holder = os.open(path, os.O_RDONLY)
def work():
    before = is_refused(writes())
    os.close(holder)
    return before, writes()
print(forked(work))
""",
        path,
    )

    assert printed == [f"(True, {SERVED})"]


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
    for key in store.query_keys():
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
def test_a_child_is_refused_while_a_thread_of_its_parent_is_at_work(path: Path, busy: str) -> None:
    printed = run(
        f"""
store.from_bytes("large", bytes(2 * MIB))
waits, goes_on = threading.Event(), threading.Event()
def wait():
    waits.set()
    goes_on.wait()
{BUSY[busy]}
thread = threading.Thread(target=work)
thread.start()
waits.wait()
print(forked(lambda: is_refused(writes())))
goes_on.set()
thread.join()
store.from_bytes("later", b"1")
store.connect()
print(forked(writes))
""",
        path,
    )

    assert printed == ["True", SERVED]
    assert keys(path) >= {"later", "child", "own"}


def test_a_child_that_is_forked_inside_a_transaction_leaves_it_to_its_parent(path: Path) -> None:
    printed = run(
        """
recorder = EventRecorder(manager)
def work():
    begin, leave = (lambda: store.transaction().__enter__()), (lambda: entry.__exit__(None, None, None))
    answers = is_refused(writes()), told(begin)[:30], told(leave)[:17]
    return answers, recorder.of(StoreModificationEvent), recorder.of(StoreTransactionEndEvent)
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


def test_a_child_that_is_forked_by_a_source_is_told_that_its_write_is_no_more(path: Path) -> None:
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
answer = told(lambda: store.set("a", (source, {})))
if source.child == 0:
    os.write(writing, repr((answer.partition(":")[0], recorder.of(StoreModificationEvent))).encode())
    os._exit(0)
print(answer, ended(source.child), os.read(reading, 1000).decode())
""",
        path,
    )

    assert printed[0].startswith("stored 0 (")
    assert "stored" not in printed[0].removeprefix("stored")
    assert printed[0].endswith(", [])")
    assert keys(path) == {"parent", "a"}


@pytest.mark.parametrize("event", ["StoreSetEvent", "StoreProgressStartEvent", "StoreProgressEndEvent"])
def test_a_child_that_is_forked_by_a_listener_loses_nothing(path: Path, event: str) -> None:
    printed = run(
        f"""
children, answers = [], []
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


def test_idle_connections_are_closed_before_a_fork_and_opened_by_the_parent_again(path: Path) -> None:
    printed = run(
        """
store.to_bytes("parent")
before = opened()
print(forked(opened), opened())
store.to_bytes("parent")
store.from_bytes("a", b"1")
print(len(set(opened())) == len(set(before)) > 1)
""",
        path,
    )

    assert printed == ["[] []", "True"]


def test_a_database_in_memory_stays_open_and_is_the_parents_alone(path: Path) -> None:
    printed = run(
        """
memory = SqliteStore(event_manager=manager)
memory.from_bytes("a", b"1")
stream = memory.get_data("a")
print(forked(lambda: (told(lambda: memory.from_bytes("b", b"1")), told(lambda: memory.to_bytes("a")))))
print(stream.read(), memory.to_bytes("a"), list(memory.query_keys()))
""",
        path,
    )

    assert printed[0].count("StoreConnectionError") == 2
    assert printed[1] == "b'1' b'1' ['a']"


def test_what_the_parent_has_under_way_goes_on_in_it(path: Path) -> None:
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


def test_a_child_of_a_child_is_served_or_refused_as_a_child_is(path: Path) -> None:
    printed = run(
        """
def work():
    store.from_bytes("child 1", b"1")
    served = forked(writes)
    stream = store.get_data("parent")
    holder = open(path, "rb")
    return served, forked(lambda: is_refused(writes()))
print(forked(work))
store.from_bytes("later", b"1")
""",
        path,
    )

    assert printed == [repr((SERVED, "True"))]
    assert keys(path) == {"parent", "child 1", "child", "own", "later"}


def test_a_pool_of_forked_processes_loses_nothing(path: Path) -> None:
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


def test_a_child_of_a_fork_without_hooks_is_refused_until_the_parents_files_are_closed(path: Path) -> None:
    printed = run(
        """
print(forked(lambda: is_refused(writes()), FORKS["without hooks"]))
store.from_bytes("later", b"1")
store.disconnect()
def work():
    store.connect()
    return writes()
print(forked(work, FORKS["without hooks"]))
""",
        path,
    )

    assert printed == ["True", SERVED]
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
def test_what_the_parent_has_under_way_is_an_error_in_the_child_and_emits_nothing(
    path: Path, use: str, kind: str
) -> None:
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
        answer = isinstance(error, ForkedError) or "forked" in str(error)
    else:
        answer = "no error"
    gc.collect()
    return answer, recorder.events
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
def test_a_child_that_exits_with_what_it_has_inherited_leaves_the_log_to_its_parent(
    path: Path, ending: str, is_inside: bool
) -> None:
    printed = run(
        f"""
stream, holder = store.query_keys(), sqlite3.connect(path)
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
    print(ended(child), os.stat(path + "-wal").st_ino == before)
store.from_bytes("b", b"1")
print(sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall(), sorted(store.query_keys()))
""",
        path,
    )

    assert printed == ["0 True", "[('ok',)] ['a', 'b', 'parent']"]
