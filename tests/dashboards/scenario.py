"""A program that works with its stores for as long as its stdin is open, and does everything that a dashboard can show.

It prints where its metrics are. A line tells it what to do from then on, and is printed once that is so: break STORE,
mend STORE, quiet, busy.
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
from encore_storage.events import StoreDeleteEvent
from encore_storage.metadata import Metadata
from encore_storage.subscribers import MetricsSubscriber

PAUSE = 0.015
"""Seconds between two jobs: all of them take less than a second."""

SIZES = (100, 1_000, 20_000, 300_000, 2_000_000, 5_000_000)
ERRORS = (OSError("it gives up"), PermissionError("not yours"), TimeoutError(), OSError(errno.ENOSPC, "disk full"))


class BreakableStore(AbstractStore):
    """A store that can be broken: from then on four operations of five fail."""

    broken = False
    _luck = itertools.cycle((False, False, True, False, False))

    def _check_key(self, key: str) -> None:
        super()._check_key(key)
        self._use_hardware()

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        self._use_hardware()
        return super()._items()

    def _use_hardware(self) -> None:
        if self.broken and not next(self._luck):
            raise OSError(errno.EIO, "the disk gives up")


class Archive(BreakableStore, SqliteStore):
    """Values in a database."""


class Reports(BreakableStore, FileSystemStore):
    """Values in files."""


class Memory(BreakableStore, DictMemoryStore):
    """Values in memory; the next commit or rollback fails if it is told to."""

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
            raise ConnectionError(f"the {moment} was lost on its way")


class FailingSource(io.BytesIO):
    """A file that gives a few bytes, and then fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(bytes(50))
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if chunk := super().read(size):
            return chunk
        raise type(self._error)(*self._error.args)


class SlowSource(io.BytesIO):
    """A file that gives a few bytes at a time, and lets one wait for each of them."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.03)
        return super().read(10_000)


class Overtaken(BaseEvent):
    """What nobody has the time for."""


def write(store: AbstractStore, turn: int) -> None:
    data = io.BytesIO(bytes(SIZES[turn % len(SIZES)]))
    store.set("daily", (data, {"turn": turn, "kind": "report"}))
    store.from_bytes(f"hourly/{turn % 24}", bytes(SIZES[turn % 3]))


def replace(store: AbstractStore, turn: int) -> None:
    if store.exists("draft"):
        store.delete("draft")
    store.from_bytes("draft", bytes(SIZES[turn % 4]))
    store.from_bytes("draft", bytes(200))


def describe(store: AbstractStore, turn: int) -> None:
    store.set_metadata(f"note/{turn % 3}", {"turn": turn})
    store.update_metadata(f"note/{turn % 3}", {"kind": "note"})


def read(store: AbstractStore, turn: int) -> None:
    store.to_bytes("daily")
    store.get_metadata("daily")
    with store.get_data_range("daily", 10, 90) as data:
        data.read()


def look(store: AbstractStore, turn: int) -> None:
    list(store.query(kind="report"))


def wait(store: AbstractStore, turn: int) -> None:
    """Write what comes slowly, so that it is told in steps."""
    store.set_data("feed", SlowSource(bytes(40_000)))


def miss(store: AbstractStore, turn: int) -> None:
    for operation in (store.to_bytes, store.get_data_range, store.get_metadata, store.delete):
        with contextlib.suppress(KeyError):
            operation("nowhere")


def fail(store: AbstractStore, turn: int) -> None:
    """Do what is wrong, in several ways."""
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


def cancel(store: AbstractStore, turn: int) -> None:
    """Forget a stream that was never closed, and interrupt a write."""
    store.get_data("daily")
    with contextlib.suppress(KeyboardInterrupt):
        store.set_data("daily", FailingSource(KeyboardInterrupt()))


def commit(store: AbstractStore, turn: int) -> None:
    with store.transaction("import"):
        for number in range(turn % 4 + 1):
            store.from_bytes(f"import/{number}", b"1")


def lose(ledger: Memory, turn: int) -> None:
    """Roll back, lose a commit on its way, and then a rollback."""
    with contextlib.suppress(OSError), ledger.transaction("import"):
        ledger.from_bytes("import/0", b"2")
        raise OSError("there is no more")
    with contextlib.suppress(OSError), ledger.transaction("commit"):
        ledger.from_bytes("sum", b"1")
        ledger.failing = "commit"
    with contextlib.suppress(OSError), ledger.transaction("rollback"):
        ledger.from_bytes("sum", b"2")
        ledger.failing = "rollback"
        raise OSError("there is no more")


def drop_events(turn: int) -> None:
    """End an event manager before its listener has had the time for what is queued."""
    manager, time_has_come = EventManager(), threading.Event()
    manager.connect(Overtaken, lambda event: time_has_come.wait())
    with MetricsSubscriber().connect(manager):
        for _ in range(3):
            manager.emit(Overtaken(), block=False)
        manager.close(timeout=0)
    time_has_come.set()


def distrust(event: StoreDeleteEvent) -> None:
    raise RuntimeError("a listener's own trouble")


class Program:
    """The stores, what is done with them, and the threads that do it.

    The archive is well until it is broken, the reports have errors, the cache misses and gives up, the uploads are
    stuck, and all that there is happens to the ledger.
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
            *(partial(fail, reports), drop_events),
        ]
        self._is_busy = True
        self._at_job = threading.Lock()
        self._over = threading.Event()

    def obey(self, command: str) -> None:
        with self._at_job:
            match command.split():
                case ["quiet" | "busy" as mood]:
                    self._is_busy = mood == "busy"
                case ["break" | "mend" as deed, name]:
                    self.stores[name].broken = deed == "break"
                case _:
                    raise ValueError(f"{command!r} is no command")

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """A block in which the program works, and a stream and a transaction are stuck."""
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
        """Begin a transaction that ends only when all is over."""
        with self._uploads.transaction("left open"):
            self._uploads.from_bytes("hourly", bytes(1_000))
            begun.set()
            self._over.wait()

    def _work(self) -> None:
        """Do one job after the other, until all is over."""
        jobs = ((job, turn) for turn in itertools.count() for job in self._jobs)
        while not self._over.wait(PAUSE):
            with self._at_job, contextlib.suppress(OSError):  # of a store that is broken
                if self._is_busy:
                    job, turn = next(jobs)
                    job(turn)


def say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def main() -> None:
    logging.getLogger("encore_events").disabled = True  # what fails here is meant to
    get_event_manager().connect(StoreDeleteEvent, distrust, {"store": "ledger"})
    with contextlib.ExitStack() as stack:
        program = Program(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        metrics = MetricsSubscriber(max_stores=len(program.stores) + 1)  # and the uploads: the tenants are too many
        observed = stack.enter_context(monitor(logs=False, metrics=metrics, port=0))
        stack.enter_context(program.at_work())
        say(f"{observed.address}\n")
        for line in sys.stdin:
            program.obey(line.strip())
            say(line)


if __name__ == "__main__":
    main()
