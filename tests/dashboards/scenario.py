"""A program that produces everything a dashboard can show, until its stdin is closed.

It prints the address of its metrics. The commands `break STORE`, `mend STORE`, `quiet` and `busy` on stdin change its
behaviour; each is printed once it takes effect.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from encore_events import BaseEvent, EventManager, get_event_manager
from encore_storage import AbstractStore, DictMemoryStore, FileSystemStore, SqliteStore, monitor
from encore_storage.events import Direction, StoreDeleteEvent
from encore_storage.metadata import Metadata
from encore_storage.observing import StoreObserver
from encore_storage.subscribers import MetricsSubscriber
from tests.subscribers.support import SmallGroup

PAUSE = 0.015
"""Seconds between two jobs."""

SIZES = (100, 1_000, 20_000, 300_000, 2_000_000, 5_000_000)
ERRORS = (OSError("I/O error"), PermissionError("not permitted"), TimeoutError(), OSError(errno.ENOSPC, "disk full"))


class BreakableStore(AbstractStore):
    """A store in which four of five operations fail while it is broken."""

    broken = False
    _successes = itertools.cycle((False, False, True, False, False))

    def _check_key(self, key: str) -> None:
        super()._check_key(key)
        self._fail_if_broken()

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        self._fail_if_broken()
        return super()._items()

    def _fail_if_broken(self) -> None:
        if self.broken and not next(self._successes):
            raise OSError(errno.EIO, "broken disk")


class Archive(BreakableStore, SqliteStore):
    """A breakable database."""


class Reports(BreakableStore, FileSystemStore):
    """A breakable directory."""


class Memory(BreakableStore, DictMemoryStore):
    """A breakable memory store; `failing` makes the next commit or rollback fail."""

    failing: str | None = None

    def _commit_transaction(self) -> None:
        self._fail("commit")
        super()._commit_transaction()

    def _rollback_transaction(self) -> None:
        super()._rollback_transaction()
        self._fail("rollback")

    def _fail(self, moment: str) -> None:
        if self.failing == moment:
            self.failing = None
            raise ConnectionError(f"connection lost during the {moment}")


class FailingSource(io.BytesIO):
    """A file that fails after a few bytes."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(bytes(50))
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if chunk := super().read(size):
            return chunk
        raise type(self._error)(*self._error.args)


class SlowSource(io.BytesIO):
    """A file that returns a few bytes at a time, slowly."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.03)
        return super().read(10_000)


class Dropped(BaseEvent):
    """An event that is dropped."""


def write(store: AbstractStore, number: int) -> None:
    data = io.BytesIO(bytes(SIZES[number % len(SIZES)]))
    store.set("daily", (data, {"number": number, "kind": "report"}))
    store.from_bytes(f"hourly/{number % 24}", bytes(SIZES[number % 3]))


def replace(store: AbstractStore, number: int) -> None:
    if store.exists("draft"):
        store.delete("draft")
    store.from_bytes("draft", bytes(SIZES[number % 4]))
    store.from_bytes("draft", bytes(200))


def describe(store: AbstractStore, number: int) -> None:
    store.set_metadata(f"note/{number % 3}", {"number": number})
    store.update_metadata(f"note/{number % 3}", {"kind": "note"})


def read(store: AbstractStore, number: int) -> None:
    store.to_bytes("daily")
    store.get_metadata("daily")
    with store.get_data_range("daily", 10, 90) as data:
        data.read()


def look(store: AbstractStore, number: int) -> None:
    list(store.query(kind="report"))


def wait(store: AbstractStore, number: int) -> None:
    """Write from a slow source, so that step events are emitted."""
    store.set_data("feed", SlowSource(bytes(40_000)))


def miss(store: AbstractStore, number: int) -> None:
    for operation in (store.to_bytes, store.get_data_range, store.get_metadata, store.delete):
        with contextlib.suppress(KeyError):
            operation("nowhere")


def fail(store: AbstractStore, number: int) -> None:
    """Cause errors of several kinds."""
    no_key: Any = None
    mistakes: tuple[Callable[[], object], ...] = (
        *(partial(store.set_data, "daily", FailingSource(error)) for error in ERRORS),
        lambda: store.set_metadata("daily", {"tags": {1, 2}}),
        lambda: store.update_metadata("daily", {"when": object()}),
        lambda: store.get_data_range("daily", -1),
        lambda: store.to_bytes(no_key),
        lambda: store.exists(no_key),
        lambda: store.delete(no_key),
    )
    for mistake in mistakes:
        with contextlib.suppress(OSError, TypeError, ValueError):
            mistake()


def cancel(store: AbstractStore, number: int) -> None:
    """Leave a stream unclosed, and interrupt a write."""
    store.get_data("daily")
    with contextlib.suppress(KeyboardInterrupt):
        store.set_data("daily", FailingSource(KeyboardInterrupt()))


def commit(store: AbstractStore, number: int) -> None:
    with store.transaction("import"):
        for index in range(number % 4 + 1):
            store.from_bytes(f"import/{index}", b"1")


def lose(ledger: Memory, number: int) -> None:
    """Roll back, fail a commit, and fail a rollback."""
    with contextlib.suppress(OSError), ledger.transaction("import"):
        ledger.from_bytes("import/0", b"2")
        raise OSError("end of data")
    with contextlib.suppress(OSError), ledger.transaction("commit"):
        ledger.from_bytes("sum", b"1")
        ledger.failing = "commit"
    with contextlib.suppress(OSError), ledger.transaction("rollback"):
        ledger.from_bytes("sum", b"2")
        ledger.failing = "rollback"
        raise OSError("end of data")


def observe(observer: StoreObserver, number: int) -> None:
    """Emit what clients measure, and a transaction in which nothing was written."""
    transaction = observer.transaction("reading")
    transaction.start()
    for operation in ("get", "list", "copy", "move", "execute"):
        direction: Direction | None = "read" if operation == "get" else None
        with observer.operation(operation, direction=direction, transaction=transaction) as observed:
            observed.count(100)
            observed.items, observed.attempts = number % 5, number % 3 + 1
            observed.first_byte, observed.fetched = 0.001, 400
    transaction.end("closed")


def drop_events(number: int) -> None:
    """Close an event manager while events are queued."""
    manager, closed = EventManager(), threading.Event()
    manager.connect(Dropped, lambda event: closed.wait())
    with MetricsSubscriber().connect(manager):
        for _ in range(3):
            manager.emit(Dropped(), block=False)
        manager.close(timeout=0)
    closed.set()


def fail_listener(event: StoreDeleteEvent) -> None:
    raise RuntimeError("failing listener")


class Program:
    """The stores, and the threads that use them.

    The archive works until it is broken, the reports have errors, the cache has misses and cancelled operations, the
    uploads are stuck, and everything happens to the ledger.
    """

    def __init__(self, folder: Path) -> None:
        archive, cache = Archive(folder / "archive.db", name="archive"), Memory(name="cache")
        reports, ledger = Reports(folder / "reports", name="reports", create=True), Memory(name="ledger")
        self.stores: dict[str, BreakableStore] = {store.name: store for store in (archive, reports, cache, ledger)}
        self._uploads = DictMemoryStore(name="uploads")
        self._jobs: list[Callable[[int], None]] = [
            *(partial(job, store) for job in (write, replace, describe, read, look) for store in self.stores.values()),
            *(partial(job, archive) for job in (wait, commit)),
            *(partial(job, cache) for job in (miss, cancel)),
            *(partial(job, ledger) for job in (miss, fail, cancel, commit, lose)),
            *(partial(look, DictMemoryStore(name=name)) for name in ("tenant-1", "tenant-2")),
            *(partial(fail, reports), partial(observe, StoreObserver("ledger", backend="memory")), drop_events),
        ]
        self._is_busy = True
        self._lock = threading.Lock()
        self._over = threading.Event()

    def execute(self, command: str) -> None:
        with self._lock:
            match command.split():
                case ["quiet" | "busy" as state]:
                    self._is_busy = state == "busy"
                case ["break" | "mend" as action, name]:
                    self.stores[name].broken = action == "break"
                case _:
                    raise ValueError(f"{command!r} is not a command")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the program for a block, with a stuck stream and a stuck transaction."""
        for store in (*self.stores.values(), self._uploads):
            store.from_bytes("daily", bytes(100))
        begun = threading.Event()
        threads = [threading.Thread(target=self._leave_open, args=(begun,)), threading.Thread(target=self._work)]
        with self._uploads.get_data("daily"):
            try:
                for thread in threads:
                    thread.start()
                begun.wait()
                yield
            finally:
                self._over.set()
                for thread in threads:
                    thread.join()
                for store in self.stores.values():
                    store.disconnect()

    def _leave_open(self, begun: threading.Event) -> None:
        """Hold a transaction open until the end."""
        with self._uploads.transaction("left open"):
            self._uploads.from_bytes("hourly", bytes(1_000))
            begun.set()
            self._over.wait()

    def _work(self) -> None:
        """Run one job after another until the end."""
        jobs = ((job, number) for number in itertools.count() for job in self._jobs)
        while not self._over.wait(PAUSE):
            with self._lock, contextlib.suppress(OSError):  # from a broken store
                if self._is_busy:
                    job, number = next(jobs)
                    job(number)


def write_line(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def main() -> None:
    logging.getLogger("encore_events").disabled = True  # the errors are intended
    get_event_manager().connect(StoreDeleteEvent, fail_listener, {"store": "ledger"})
    with contextlib.ExitStack() as stack:
        program = Program(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        group = SmallGroup("scenario")
        metrics = MetricsSubscriber(
            group=group, max_stores=len(program.stores) + 1
        )  # plus the uploads; the tenants overflow
        observed = stack.enter_context(monitor(logs=False, metrics=metrics, port=0))
        stack.enter_context(program.running())
        write_line(f"{observed.address}\n")
        for line in sys.stdin:
            program.execute(line.strip())
            write_line(line)


if __name__ == "__main__":
    main()
