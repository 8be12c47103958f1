"""An interrupt at any moment of a call leaves the store unlocked, and its events complete and true."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
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
from tests.storage.support import LONG, open_files, settled
from tests.storage.sweeps import sweep

WRITE_TIMEOUT = 0.5
"""The store's timeout while another thread checks that it can write, in seconds."""

STRIDE = 3
"""The number of function entries between two interrupts. The campaign interrupts at each of them."""

Call = Callable[["Scene"], object]


class Scene:
    """A store with a value, a recorder of its events and its metrics."""

    def __init__(self, make: Callable[[EventManager], AbstractStore]) -> None:
        self.manager = EventManager()
        self.registry = CollectorRegistry()
        MetricsSubscriber(registry=self.registry).connect(self.manager)
        self.store = make(self.manager)
        self.store.set("a", (io.BytesIO(b"old"), {"v": 1}))
        self.recorder = EventRecorder(self.manager)

    def ids(self, cls: type[Any], name: str) -> list[str]:
        """Return the sorted ids, from the attribute `name`, of the recorded events of a class."""
        return sorted(getattr(event, name) for event in self.recorder.of(cls))

    def value(self) -> tuple[bytes, Any] | None:
        """Return the bytes and metadata of `a`, or None if it does not exist."""
        return (self.store.to_bytes("a"), self.store.get_metadata("a")) if self.store.exists("a") else None

    def check(self, error: BaseException | None) -> None:
        """Assert that the store is unlocked, and that events and metrics match what the store holds."""
        self.store.connect()
        self._check_another_thread_writes()
        self._check_each_start_has_an_end()
        value = self.value()
        changes = [event for event in self.recorder.of(StoreModificationEvent) if event.key == "a"]
        assert bool(changes) == (value != (b"old", {"v": 1})), f"{changes} for {value}"
        for end in self.recorder.of(StoreTransactionEndEvent):
            assert (end.outcome == "committed") == bool(changes), end
        for family in self.registry.collect():
            if family.name.endswith("in_progress"):
                assert not any(sample.value for sample in family.samples), family.samples
        self.store.disconnect()

    def _check_another_thread_writes(self) -> None:
        done: list[object] = []

        def write() -> None:
            self.store.timeout = WRITE_TIMEOUT
            self.store.from_bytes("other", b"1")
            done.append(True)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(LONG)
        assert done, "the store is locked"
        assert self.store.to_bytes("other") == b"1"

    def _check_each_start_has_an_end(self) -> None:
        settled()
        for start, end, name in (
            (StoreProgressStartEvent, StoreProgressEndEvent, "operation_id"),
            (StoreTransactionStartEvent, StoreTransactionEndEvent, "transaction_id"),
        ):
            assert self.ids(start, name) == self.ids(end, name), (start.__name__, self.recorder.names())


def write_in_transaction(scene: Scene) -> None:
    with scene.store.transaction("t"):
        scene.store.from_bytes("a", b"new")


def write_in_nested_transaction(scene: Scene) -> None:
    with scene.store.transaction("t"):
        scene.store.from_bytes("a", b"new")
        with scene.store.transaction("inner"):
            scene.store.update_metadata("a", {"w": 2})


def roll_back(scene: Scene) -> None:
    with suppress(ValueError), scene.store.transaction("t"):
        scene.store.delete("a")
        raise ValueError("no")


def reconnect(scene: Scene) -> None:
    scene.store.disconnect()
    scene.store.connect()


CALLS: dict[str, Call] = {
    "from_bytes": lambda scene: scene.store.from_bytes("a", b"new"),
    "set": lambda scene: scene.store.set("a", (io.BytesIO(b"new"), {"v": 2})),
    "set_metadata": lambda scene: scene.store.set_metadata("a", {"v": 2}),
    "update_metadata": lambda scene: scene.store.update_metadata("a", {"w": 2}),
    "delete": lambda scene: scene.store.delete("a"),
    "to_bytes": lambda scene: scene.store.to_bytes("a"),
    "get": lambda scene: scene.store.get("a").data.read(),
    "query": lambda scene: list(scene.store.query()),
    "transaction": write_in_transaction,
    "nested": write_in_nested_transaction,
    "rollback": roll_back,
    "close": reconnect,
}


@pytest.fixture(params=["memory", "sqlite", "sqlite in memory"])
def make(request: pytest.FixtureRequest, folder: Path) -> Callable[[EventManager], AbstractStore]:
    """Return a factory of stores of the kind under test."""
    names = iter(range(1_000_000))
    makers: dict[str, Callable[[EventManager], AbstractStore]] = {
        "memory": lambda manager: DictMemoryStore(event_manager=manager),
        "sqlite": lambda manager: SqliteStore(folder / f"{next(names)}.db", event_manager=manager),
        "sqlite in memory": lambda manager: SqliteStore(event_manager=manager),
    }
    return makers[request.param]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("error", "stride"),
    [(KeyboardInterrupt, STRIDE), (RecursionError, 11)],
    ids=["KeyboardInterrupt", "RecursionError"],
)
def test_interrupt_at_any_function_entry_leaves_store_consistent(
    make: Callable[[EventManager], AbstractStore], call: Call, error: type[BaseException], stride: int
) -> None:
    before = open_files()
    if error is KeyboardInterrupt and call is write_in_transaction:
        stride = 1  # the others have most of their path in common with it
    first = list(CALLS.values()).index(call) % stride + 1

    assert sweep(lambda: Scene(make), call, Scene.check, events="call", error=error, first=first, stride=stride) > 0

    assert open_files() <= before
