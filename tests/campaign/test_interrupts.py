"""An interrupt before any instruction leaves the store unlocked, and its events complete and true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.stores import DictMemoryStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from tests.campaign.support import CASES, ERRORS, PRODUCT, SHARDS
from tests.storage.filesystem.test_interrupts import CALLS as FILE_CALLS
from tests.storage.filesystem.test_interrupts import sweep_call
from tests.storage.support import open_files
from tests.storage.sweeps import STORES, sweep
from tests.storage.test_interrupts import CALLS, Call, Scene

Make = Callable[[EventManager], AbstractStore]

pytestmark = pytest.mark.parametrize("shard", range(SHARDS))


@pytest.fixture(params=["memory", "sqlite", "sqlite in memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return a factory of stores of the kind under test."""
    path = tmp_path / "store.db"

    def make_in_file(manager: EventManager) -> AbstractStore:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return SqliteStore(path, event_manager=manager)

    makers: dict[str, Make] = {
        "memory": lambda manager: DictMemoryStore(event_manager=manager),
        "sqlite": make_in_file,
        "sqlite in memory": lambda manager: SqliteStore(event_manager=manager),
    }
    return makers[request.param]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_interrupt_before_any_instruction_leaves_store_consistent(
    make: Make, call: Call, shard: int, record_property: Callable[[str, object], None]
) -> None:
    before = open_files()

    number = sweep(
        lambda: Scene(make),
        call,
        Scene.check,
        events="opcode",
        error=ERRORS[shard % len(ERRORS)],
        where=PRODUCT,
        first=shard + 1,
        stride=SHARDS,
    )

    assert number > 10
    assert open_files() <= before
    record_property(CASES, number)


@pytest.mark.parametrize("name", FILE_CALLS)
def test_interrupt_before_any_instruction_leaves_file_system_store_consistent(
    tmp_path: Path, name: str, shard: int, record_property: Callable[[str, object], None]
) -> None:
    number = sweep_call(
        tmp_path,
        name,
        events="opcode",
        error=ERRORS[shard % len(ERRORS)],
        where=STORES,
        first=shard + 1,
        stride=SHARDS,
    )

    assert number > 10
    record_property(CASES, number)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_interrupt_at_any_function_entry_leaves_store_consistent(
    make: Make, call: Call, shard: int, record_property: Callable[[str, object], None]
) -> None:
    number = sweep(lambda: Scene(make), call, Scene.check, first=shard + 1, stride=SHARDS)

    assert number > 1
    record_property(CASES, number)


@pytest.mark.parametrize("name", FILE_CALLS)
def test_interrupt_at_any_function_entry_leaves_file_system_store_consistent(
    tmp_path: Path, name: str, shard: int, record_property: Callable[[str, object], None]
) -> None:
    number = sweep_call(tmp_path, name, first=shard + 1, stride=SHARDS)

    assert number > 8
    record_property(CASES, number)
