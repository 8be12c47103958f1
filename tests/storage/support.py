"""What the tests of the storage share: the stores under test, sources that fail, and a clock that stands still."""

from __future__ import annotations

import io
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
"""Seconds that a test waits for another thread: never spent, unless it fails."""

STORES: dict[str, Callable[..., AbstractStore]] = {
    "memory": lambda path, **options: DictMemoryStore(**options),
    "filesystem": lambda path, **options: FileSystemStore(path, create=True, **options),
    "sqlite": SqliteStore,
    "sqlite in memory": lambda path, **options: SqliteStore(":memory:", **options),
}
TRANSACTIONAL = [kind for kind in STORES if kind != "filesystem"]


class MakeStore(Protocol):
    """Makes stores of the kind under test, which emit on the test's own event manager."""

    def __call__(self, place: str = "archive", **options: Any) -> AbstractStore:
        """Give a store in that place, of that name; it is disconnected after the test."""


class Source:
    """A file that gives its answers one read after the other, then nothing; an answer that is an error is raised."""

    def __init__(self, *answers: bytes | BaseException) -> None:
        self.answers = list(answers)

    def read(self, size: int, /) -> bytes:
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def put(store: AbstractStore, key: str, data: bytes, metadata: Metadata | None = None) -> None:
    """Store bytes and metadata under the key."""
    store.set(key, (io.BytesIO(data), {} if metadata is None else metadata))


class RecordingStore:
    """The least that has transactions: keys alone, and a record of what was asked of it."""

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


def keep(store: Transactional, key: str, error: BaseException | None = None) -> None:
    """Store a key in a transaction of its own, which fails with the error."""
    with store.transaction(key):
        store.from_bytes(key, b"1")
        if error is not None:
            raise error


START, END, SET = "StoreTransactionStartEvent", "StoreTransactionEndEvent", "StoreSetEvent"


def told(recorder: EventRecorder) -> list[str]:
    """The transactions and the changes, in the order in which they were told."""
    telling = (StoreTransactionEvent, StoreModificationEvent)
    return [type(event).__name__ for event in recorder.events if isinstance(event, telling)]


def run(program: str, *arguments: object, forks: bool = False) -> str:
    """What a program prints that runs in an interpreter of its own, warnings as errors.

    A child that was forked must not close what its parent has opened, of which sqlite3 warns from Python 3.13 on.
    """
    ignored = ["-W", "ignore::ResourceWarning"] if forks else []
    command = [sys.executable, "-W", "error", *ignored, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def settled() -> None:
    """Wait until what finalizers have left to another thread is done."""
    done = threading.Event()
    run_in_background(done.set)
    assert done.wait(LONG)
