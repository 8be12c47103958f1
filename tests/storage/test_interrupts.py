"""Interrupts at any moment of a call: the store is free, what took effect is told, and each start has its end."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.stores import DictMemoryStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.subscribers import MetricsSubscriber
from tests.storage.support import LONG, settled
from tests.storage.sweeps import sweep

SHARED_MEMORY = Path("/dev/shm")

FEW = 0.5
"""Seconds that another thread is given to write."""

Call = Callable[["Made"], object]


class Made:
    """A store with a value in it, and whoever listens."""

    def __init__(self, make: Callable[[EventManager], AbstractStore]) -> None:
        self.manager = EventManager()
        self.registry = CollectorRegistry()
        MetricsSubscriber(registry=self.registry).connect(self.manager)
        self.store = make(self.manager)
        self.store.set("a", (io.BytesIO(b"old"), {"v": 1}))
        self.recorder = EventRecorder(self.manager)

    def ids(self, cls: type[Any], name: str) -> list[str]:
        return sorted(getattr(event, name) for event in self.recorder.of(cls))

    def what_is_there(self) -> tuple[bytes, Any] | None:
        return (self.store.to_bytes("a"), self.store.get_metadata("a")) if self.store.exists("a") else None

    def check(self, error: BaseException | None) -> None:
        self.store.connect()
        self._another_thread_writes()
        self._each_start_has_its_end()
        there = self.what_is_there()
        changes = [event for event in self.recorder.of(StoreModificationEvent) if event.key == "a"]
        assert bool(changes) == (there != (b"old", {"v": 1})), f"{changes} of {there}"
        for end in self.recorder.of(StoreTransactionEndEvent):
            assert (end.outcome == "committed") == bool(changes), end
        for family in self.registry.collect():
            if family.name.endswith("in_progress"):
                assert not any(sample.value for sample in family.samples), family.samples
        self.store.disconnect()

    def _another_thread_writes(self) -> None:
        done: list[object] = []

        def write() -> None:
            self.store.timeout = FEW
            self.store.from_bytes("other", b"1")
            done.append(True)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(LONG)
        assert done, "the store is locked"
        assert self.store.to_bytes("other") == b"1"

    def _each_start_has_its_end(self) -> None:
        settled()
        for start, end, name in (
            (StoreProgressStartEvent, StoreProgressEndEvent, "operation_id"),
            (StoreTransactionStartEvent, StoreTransactionEndEvent, "transaction_id"),
        ):
            assert self.ids(start, name) == self.ids(end, name), (start.__name__, self.recorder.names())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def in_a_transaction(made: Made) -> None:
    with made.store.transaction("t"):
        made.store.from_bytes("a", b"new")


def in_a_nested_one(made: Made) -> None:
    with made.store.transaction("t"):
        made.store.from_bytes("a", b"new")
        with made.store.transaction("inner"):
            made.store.update_metadata("a", {"w": 2})


def rolled_back(made: Made) -> None:
    with suppress(ValueError), made.store.transaction("t"):
        made.store.delete("a")
        raise ValueError("no")


def closed(made: Made) -> None:
    made.store.disconnect()
    made.store.connect()


CALLS: dict[str, Call] = {
    "from_bytes": lambda made: made.store.from_bytes("a", b"new"),
    "set": lambda made: made.store.set("a", (io.BytesIO(b"new"), {"v": 2})),
    "set_metadata": lambda made: made.store.set_metadata("a", {"v": 2}),
    "update_metadata": lambda made: made.store.update_metadata("a", {"w": 2}),
    "delete": lambda made: made.store.delete("a"),
    "to_bytes": lambda made: made.store.to_bytes("a"),
    "get": lambda made: made.store.get("a").data.read(),
    "query": lambda made: list(made.store.query()),
    "transaction": in_a_transaction,
    "nested": in_a_nested_one,
    "rollback": rolled_back,
    "close": closed,
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one: hundreds of databases are made."""
    if not SHARED_MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        yield Path(directory)


@pytest.fixture(params=["memory", "sqlite", "sqlite in memory"])
def make(request: pytest.FixtureRequest, folder: Path) -> Callable[[EventManager], AbstractStore]:
    names = iter(range(1_000_000))
    makers: dict[str, Callable[[EventManager], AbstractStore]] = {
        "memory": lambda manager: DictMemoryStore(event_manager=manager),
        "sqlite": lambda manager: SqliteStore(folder / f"{next(names)}.db", event_manager=manager),
        "sqlite in memory": lambda manager: SqliteStore(event_manager=manager),
    }
    return makers[request.param]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("error", "stride"), [(KeyboardInterrupt, 1), (RecursionError, 11)], ids=["KeyboardInterrupt", "RecursionError"]
)
def test_an_interrupt_at_the_entry_of_any_function_leaves_all_whole(
    make: Callable[[EventManager], AbstractStore], call: Call, error: type[BaseException], stride: int
) -> None:
    before = descriptors()

    assert sweep(lambda: Made(make), call, Made.check, events="call", error=error, stride=stride) > 0

    assert descriptors() <= before
