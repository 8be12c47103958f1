"""A workload on real stores that emits every type of event."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from encore_events import BaseEvent, EventManager, ProgressManager
from encore_storage import AbstractStore, DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.events import StoreDeleteEvent
from encore_storage.observing import StoreObserver


class Failing:
    """A source of data; its second read fails."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._reads = 0

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > 1:
            raise self._error
        return b"x"


def run(manager: EventManager, folder: Path) -> None:
    """Emit every type of event, with every outcome."""
    (folder / "files").mkdir()
    with (
        FileSystemStore(folder / "files", name="files", event_manager=manager) as files,
        SqliteStore(folder / "archive.db", name="archive äöü/1", event_manager=manager) as archive,
    ):
        for store in (DictMemoryStore(name="memory", event_manager=manager), files, archive):
            _use(store)
    _observe(StoreObserver("s3:invoices", backend="s3", event_manager=manager))
    with ProgressManager(manager, message="counting", steps=2) as progress:
        progress(1)
        progress(2)
    _fail_in_a_listener(manager)
    _drop(manager)


def _use(store: AbstractStore) -> None:
    store.from_bytes("reports/q3", b"x" * 3_000_000)
    store.set_metadata("reports/q3", {"author": "Ada", "tags": ["a", "b"]})
    store.from_bytes("reports/q3", b"y" * 10)
    store.to_bytes("reports/q3")
    store.exists("nothing")
    list(store.query_keys())
    with store.transaction("import"):
        store.from_bytes("a", b"1")
        store.from_bytes("b", b"2")
    with contextlib.suppress(ZeroDivisionError), store.transaction("a batch that fails"):
        store.from_bytes("c", b"3")
        raise ZeroDivisionError("no such number")
    with contextlib.suppress(KeyboardInterrupt), store.transaction():
        store.set_data("d", Failing(KeyboardInterrupt()))
    with contextlib.suppress(KeyError):
        store.get_data("nothing")
    with contextlib.suppress(OSError):
        store.set_data("reports/full", Failing(OSError(errno.ENOSPC, "No space left on device", "/full")))
    store.delete("reports/q3")


def _observe(observer: StoreObserver) -> None:
    """Emit what clients measure, and a transaction in which nothing was written."""
    transaction = observer.transaction("reading")
    transaction.start()
    for attempts in (1, 3):
        with observer.operation("list", transaction=transaction) as operation:
            operation.items, operation.attempts = 20, attempts
    with observer.operation("get", "a", direction="read", transaction=transaction) as operation:
        operation.count(10)
        operation.first_byte, operation.fetched = 0.5, 4096
    transaction.end("closed")


def _fail_in_a_listener(manager: EventManager) -> None:
    def failing(_event: BaseEvent) -> None:
        raise ValueError("a listener fails")

    with manager.connect(StoreDeleteEvent, failing):
        store = DictMemoryStore(name="memory", event_manager=manager)
        store.from_bytes("a", b"")
        store.delete("a")


def _drop(manager: EventManager) -> None:
    with manager.stream(BaseEvent, capacity=1, name="slow"):
        for number in range(3):
            manager.emit(BaseEvent(number=number))
