"""Helpers of the storage tests: stores under test, failing sources and a manual clock."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from encore_events import EventManager
from encore_events.background import run_in_background
from encore_events.testing import EventRecorder
from encore_storage.events import StoreModificationEvent, StoreSetEvent, StoreTransactionEvent
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.filesystem.store import FileSystemStore
from encore_storage.stores.memory import DictMemoryStore
from encore_storage.stores.sqlite.store import SqliteStore
from encore_storage.transactions.contexts import SimpleTransactionContext, TransactionEntry, TransactionState

REPOSITORY = Path(__file__).parents[2]

LONG = 30.0
"""Timeout for another thread, in seconds. Only a failing test spends it."""

STORES: dict[str, Callable[..., AbstractStore]] = {
    "memory": lambda path, **options: DictMemoryStore(**options),
    "filesystem": lambda path, **options: FileSystemStore(path, create=True, **options),
    "sqlite": SqliteStore,
    "sqlite in memory": lambda path, **options: SqliteStore(":memory:", **options),
}
TRANSACTIONAL = [kind for kind in STORES if kind != "filesystem"]


class MakeStore(Protocol):
    """A factory of stores of the kind under test, connected to the test's event manager."""

    def __call__(self, place: str = "archive", **options: Any) -> AbstractStore:
        """Return a store at `place`, also its name. The fixture disconnects it after the test."""


class Source:
    """A file that returns one answer for each read, then `b""`. An exception among the answers is raised."""

    def __init__(self, *answers: bytes | BaseException) -> None:
        self.answers = list(answers)

    def read(self, size: int, /) -> bytes:
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def put(store: AbstractStore, key: str, data: bytes, metadata: Metadata | None = None) -> None:
    """Set the bytes and metadata of a key."""
    store.set(key, (io.BytesIO(data), {} if metadata is None else metadata))


class RecordingStore:
    """A minimal transactional store: it keeps keys only, and records the transaction calls in `calls`."""

    name = "recording"

    def __init__(self, *, event_manager: EventManager, timeout: float | None = None) -> None:
        self.event_manager = event_manager
        self.timeout = timeout
        self.calls: list[str] = []
        self._kept: set[str] = set()
        self._pending: set[str] | None = None

    def transaction(self, notes: str | None = None) -> TransactionEntry:
        return SimpleTransactionContext(self, notes).entry()

    def from_bytes(self, key: str, data: bytes) -> None:
        with TransactionState.of(self).turn.taken():
            (self._kept if self._pending is None else self._pending).add(key)
        mine = TransactionState.of(self).mine
        identity = mine and mine.transaction_id
        self.event_manager.emit(StoreSetEvent(self, store=self.name, key=key, transaction_id=identity))

    def exists(self, key: str) -> bool:
        mine = TransactionState.of(self).mine
        return key in self._kept or (mine is not None and key in (self._pending or ()))

    def _begin_transaction(self) -> None:
        self.calls.append("begin")
        self._pending = set()

    def _commit_transaction(self) -> None:
        self.calls.append("commit")
        self._kept |= self._pending or set()
        self._pending = None

    def _rollback_transaction(self) -> None:
        self.calls.append("rollback")
        self._pending = None

    def _in_transaction(self) -> bool:
        return self._pending is not None


Transactional = RecordingStore | AbstractStore


def set_in_transaction(store: Transactional, key: str, error: BaseException | None = None) -> None:
    """Set a key in a transaction of its own, and raise `error` inside it."""
    with store.transaction(key):
        store.from_bytes(key, b"1")
        if error is not None:
            raise error


START, END, SET = "StoreTransactionStartEvent", "StoreTransactionEndEvent", "StoreSetEvent"


def recorded_names(recorder: EventRecorder) -> list[str]:
    """Return the class names of the recorded transaction and modification events, in order."""
    classes = (StoreTransactionEvent, StoreModificationEvent)
    return [type(event).__name__ for event in recorder.events if isinstance(event, classes)]


def run(program: str, *arguments: object, forks: bool = False) -> str:
    """Run a program in an interpreter of its own, with warnings as errors, and return its output.

    A forked child must not close its parent's connections. Since Python 3.13, sqlite3 warns about that: pass `forks`.
    """
    ignored = ["-W", "ignore::ResourceWarning"] if forks else []
    command = [sys.executable, "-W", "error", *ignored, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def settled() -> None:
    """Wait until the background thread has done the work that finalizers passed to it."""
    done = threading.Event()
    run_in_background(done.set)
    assert done.wait(LONG)


def open_files() -> int:
    """Return the number of open files; a page that other tests serve opens sockets and its group's files meanwhile."""
    targets = list[str]()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            targets.append(str(each.readlink()))
    return sum(target.startswith("/") and f"/encore-{os.geteuid()}" not in target for target in targets)
