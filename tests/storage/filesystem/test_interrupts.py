"""Tests of FileSystemStore with interrupts: values stay whole, and nothing stays open, locked or unfinished."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encore_storage.errors import TransactionTimeoutError
from encore_storage.events import StoreEvent, StoreModificationEvent, StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.stores import FileSystemStore
from encore_storage.transactions.contexts import TransactionState
from tests.storage.filesystem.support import ActingSource, pair, put, store_in, unfinished
from tests.storage.support import LONG, open_files, run
from tests.storage.sweeps import STORES, sweep

Pair = tuple[bytes, dict[str, Any]] | None

OLD: Pair = (b"old", {"v": 1})
NEW: Pair = (b"new", {"v": 2})

KEY = "dir/value"

ENTRIES = 3
"""The number of function entries between two interrupts. The campaign interrupts at each of them."""

OPCODES = int(os.environ.get("ENCORE_SWEEP_STRIDE", "101"))
"""The number of instructions between two interrupts; a campaign sets it to 1."""


def reconnect(store: FileSystemStore) -> None:
    store.disconnect()
    store.connect()


CALLS: dict[str, tuple[Callable[[FileSystemStore], object], str, Pair, Pair]] = {
    "set": (lambda store: put(store, KEY, b"new", v=2), KEY, OLD, NEW),
    "set data": (lambda store: store.from_bytes(KEY, b"new"), KEY, OLD, (b"new", {"v": 1})),
    "set a new key": (lambda store: put(store, "new/deep/key", b"new", v=2), "new/deep/key", None, NEW),
    "set without metadata": (lambda store: put(store, KEY, b"new"), KEY, OLD, (b"new", {})),
    "set metadata": (lambda store: store.set_metadata(KEY, {"v": 2}), KEY, OLD, (b"old", {"v": 2})),
    "set metadata of a new key": (
        lambda store: store.set_metadata("new/key", {"v": 2}),
        "new/key",
        None,
        (b"", {"v": 2}),
    ),
    "remove metadata": (lambda store: store.set_metadata(KEY, {}), KEY, OLD, (b"old", {})),
    "update metadata": (lambda store: store.update_metadata(KEY, {"w": 2}), KEY, OLD, (b"old", {"v": 1, "w": 2})),
    "delete": (lambda store: store.delete(KEY), KEY, OLD, None),
    "get": (lambda store: pair(store, KEY), KEY, OLD, OLD),
    "to bytes": (lambda store: store.to_bytes(KEY), KEY, OLD, OLD),
    "query": (lambda store: list(store.query(v=1)), KEY, OLD, OLD),
    "connect": (reconnect, KEY, OLD, OLD),
}


class Scene:
    """A store with a value, and its events."""

    def __init__(self, directory: Path) -> None:
        self.root = Path(tempfile.mkdtemp(dir=directory))
        self.store = store_in(self.root)
        put(self.store, KEY, b"old", v=1)
        self.events: list[StoreEvent] = []
        self.store.event_manager.connect(StoreEvent, self.events.append, weak=False)
        self.open_files = open_files()

    def value(self, key: str) -> Pair:
        store = store_in(self.root)
        return pair(store, key) if store.exists(key) else None

    def is_idle(self) -> bool:
        """Return whether all background work is done."""
        started, ended = (
            {event.operation_id for event in self.events if isinstance(event, cls)}
            for cls in (StoreProgressStartEvent, StoreProgressEndEvent)
        )
        return TransactionState.of(self.store).turn.first is None and started == ended

    def changes(self) -> list[tuple[str | None, str]]:
        return [(event.key, event.action) for event in self.events if isinstance(event, StoreModificationEvent)]

    def check(self, key: str, old: Pair, new: Pair, error: BaseException | None) -> None:
        """Check the state that an interrupted call has left."""
        wait_for(self.is_idle)
        assert open_files() == self.open_files
        check_unlocked(self.root)
        found = self.value(key)
        assert found in ((old, new) if error else (new,))
        action = "delete" if new is None else "set" if old is None else "update"
        expected = [(key, action)] if found == new != old else []
        wait_for(lambda: self.changes() == expected)
        assert unfinished(self.root) == []
        keys = {KEY, key} if found else {KEY} - {key}
        assert set(store_in(self.root).query_keys()) == keys
        assert {path.name for path in self.root.iterdir()} == {".encore", *(key.partition("/")[0] for key in keys)}
        self.store.connect()
        self.store.from_bytes(KEY, b"later")


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, which another thread may bring about."""
    until = time.monotonic() + LONG / 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)
    assert condition()


def check_unlocked(root: Path) -> None:
    """Check that another process could acquire the lock of the directory."""
    with (root / ".encore" / "lock").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep_call(directory: Path, name: str, **options: Any) -> int:
    call, key, old, new = CALLS[name]
    return sweep(
        lambda: Scene(directory),
        lambda scene: call(scene.store),
        lambda scene, error: scene.check(key, old, new, error),
        **options,
    )


@pytest.mark.parametrize("name", CALLS)
def test_interrupt_at_any_call_leaves_the_value_whole(folder: Path, name: str) -> None:
    stride = 1 if name in {"set", "connect"} else ENTRIES  # the others have most of their path in common with `set`
    first = list(CALLS).index(name) % stride + 1

    assert sweep_call(folder, name, first=first, stride=stride) > 50


@pytest.mark.parametrize("error", [MemoryError, RecursionError, SystemExit])
@pytest.mark.parametrize("name", ["set", "delete"])
def test_other_error_at_any_call_leaves_the_value_whole(folder: Path, name: str, error: type[BaseException]) -> None:
    assert sweep_call(folder, name, error=error, stride=7) > 50


@pytest.mark.parametrize("name", ["set", "set a new key", "delete", "to bytes", "query"])
def test_interrupt_at_any_instruction_leaves_the_value_whole(folder: Path, name: str) -> None:
    assert sweep_call(folder, name, events="opcode", where=STORES, stride=OPCODES) > 10


def test_interrupted_source_leaves_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.store.set(KEY, (ActingSource(interrupt), {"v": 2}))

    scene.check(KEY, OLD, NEW, KeyboardInterrupt())
    assert scene.value(KEY) == (b"later", {"v": 1})


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Return a function that calls another in the handler of an alarm shortly afterwards."""
    before = signal.getsignal(signal.SIGALRM)

    def ring(act: Callable[[], object]) -> None:
        signal.signal(signal.SIGALRM, lambda *_: act())
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    yield ring
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Lock:
    """The lock of a directory, held as by another process."""

    def __init__(self, root: Path) -> None:
        self._file = (root / ".encore" / "lock").open("rb+")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        self._file.close()


@pytest.mark.parametrize("is_other", [False, True], ids=["the same store", "another store of the directory"])
def test_write_by_a_signal_handler_during_a_wait_for_the_lock_times_out(
    root: Path, store: FileSystemStore, is_other: bool, alarm: Callable[[Callable[[], object]], None]
) -> None:
    store.from_bytes("a", b"1")
    lock, other = Lock(root), store_in(root) if is_other else store
    errors: list[BaseException] = []

    def write() -> None:
        try:
            other.from_bytes("b", b"1")
        except TransactionTimeoutError as error:
            errors.append(error)
        lock.release()

    alarm(write)
    store.from_bytes("a", b"2")

    assert (store.to_bytes("a"), len(errors), store.exists("b")) == (b"2", 1, False)
    other.from_bytes("b", b"1")


def test_error_of_a_signal_handler_ends_the_wait_for_the_lock(
    root: Path, store: FileSystemStore, alarm: Callable[[Callable[[], object]], None]
) -> None:
    store.from_bytes("a", b"1")
    lock = Lock(root)

    def give_up() -> None:
        raise TimeoutError("no time left")

    alarm(give_up)
    with pytest.raises(TimeoutError, match="no time left"):
        store.from_bytes("a", b"2")
    lock.release()

    check_unlocked(root)
    assert (store.to_bytes("a"), unfinished(root)) == (b"1", [])
    store.from_bytes("a", b"3")


@pytest.mark.parametrize("is_other", [False, True], ids=["the same store", "another store of the directory"])
def test_write_by_a_signal_handler_during_a_write_joins_it_or_times_out(
    root: Path, store: FileSystemStore, is_other: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"1", v=1)
    other = store_in(root) if is_other else store
    replace, errors = os.replace, list[BaseException]()

    def act(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(os, "replace", replace)
        try:
            put(other, "b", b"nested", v=0)
        except TransactionTimeoutError as error:
            errors.append(error)
        replace(*arguments, **options)

    monkeypatch.setattr(os, "replace", act)
    put(store, "a", b"2", v=2)

    assert pair(store, "a") == (b"2", {"v": 2})
    assert (len(errors), store.exists("b")) == ((1, False) if is_other else (0, True))
    assert unfinished(root) == []


def test_store_can_be_opened_during_a_write_of_its_thread(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"1", v=1)
    replace, seen = os.replace, list[object]()

    def act(*arguments: Any, **options: Any) -> None:
        seen.append(pair(store_in(root), "a"))
        replace(*arguments, **options)

    monkeypatch.setattr(os, "replace", act)
    put(store, "a", b"2", v=2)

    assert seen == [(b"1", {"v": 1}), (b"1", {"v": 1}), (b"2", {"v": 2})]
    assert (pair(store, "a"), unfinished(root)) == ((b"2", {"v": 2}), [])


FORKING = """
import io, os, sys
from encore_events import EventManager
from encore_events.errors import ForkedError
from encore_storage.stores import FileSystemStore

root = sys.argv[1]
store = FileSystemStore(root, event_manager=EventManager())
store.from_bytes("a", b"old")
reading, writing = os.pipe()

class Forking:
    child = None
    def __init__(self):
        self.chunks = [b"one ", b"two"]
    def read(self, size):
        if len(self.chunks) == 1:
            self.child = os.fork()
        return self.chunks.pop(0) if self.chunks else b""

source = Forking()
stream = store.get_data("a")
head = stream.read(1)
try:
    store.set_data("a", source)
except ForkedError as error:
    assert source.child == 0, source.child
    paths = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [path for path in paths if "/.encore/tmp/" in path or path.endswith("/lock")], paths
    store.from_bytes("b", b"of the child")
    os.write(writing, b"rejected")
    os._exit(0)
assert os.waitpid(source.child, 0)[1] == 0
assert os.read(reading, 100) == b"rejected"
assert head + stream.read() == b"old"
assert (store.to_bytes("a"), store.to_bytes("b")) == (b"one two", b"of the child")
assert os.listdir(root + "/.encore/tmp") == []
"""


def test_write_during_which_a_source_forks_belongs_to_the_parent(root: Path) -> None:
    run(FORKING, root, forks=True)


KILLED = """
import fcntl, os, signal, sys
from encore_events import EventManager
from encore_storage.stores import FileSystemStore

root = sys.argv[1]
FileSystemStore(root, event_manager=EventManager()).from_bytes("a", b"old")
reading, writing = os.pipe()
parent = os.fork()
if not parent:
    store = FileSystemStore(root, event_manager=EventManager())
    def fork(*arguments, **options):
        if not os.fork():
            os.write(writing, b"%d" % os.getpid())
        signal.pause()
    os.replace = fork
    store.from_bytes("a", b"new")
child = int(os.read(reading, 100))
os.kill(parent, signal.SIGKILL)
os.waitpid(parent, 0)
try:
    with open(root + "/.encore/lock", "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    store = FileSystemStore(root, event_manager=EventManager())
    assert (store.to_bytes("a"), os.listdir(root + "/.encore/tmp")) == (b"old", [])
finally:
    os.kill(child, signal.SIGKILL)
"""


def test_child_of_a_killed_parent_keeps_no_locks(root: Path) -> None:
    run(KILLED, root, forks=True)
