"""Transactions of observed file systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.cached import SimpleCacheFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.transaction import Transaction

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from tests.clients.fsspec_support import changes, make


@pytest.fixture(params=["memory", "local", "simplecache"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager, recorder: EventRecorder
) -> Iterator[tuple[Any, str]]:
    """Yield an observed file system with transactions, and a directory."""
    made: dict[str, Any] = {
        "memory": lambda: (make(), ""),
        "local": lambda: (LocalFileSystem(skip_instance_cache=True), str(tmp_path)),
        "simplecache": lambda: (SimpleCacheFileSystem(fs=make(), skip_instance_cache=True), ""),
    }
    fs, folder = made[request.param]()
    yield observe(fs, event_manager=manager), folder
    unobserve(fs)


def write(fs: Any, path: str) -> None:
    with fs.open(path, "wb") as file:
        file.write(b"12")


def own_changes(recorder: EventRecorder, fs: Any) -> list[tuple[str, str | None]]:
    store = "simplecache" if isinstance(fs, SimpleCacheFileSystem) else None
    found = [event for event in recorder.of(StoreModificationEvent) if store in (None, event.store)]
    return [(event.action, event.key) for event in found]


def ended(recorder: EventRecorder) -> tuple[Any, ...]:
    end = recorder.one(StoreTransactionEndEvent)
    return end.outcome, end.operations, end.held


def test_committed_block_changes_keys_after_the_commit(place: tuple[Any, str], recorder: EventRecorder) -> None:
    fs, folder = place
    with fs.transaction:
        write(fs, f"{folder}/a")
        write(fs, f"{folder}/b")
        assert own_changes(recorder, fs) == []
        assert not (fs.fs if hasattr(fs, "fs") else fs).exists(f"{folder}/a")

    assert ended(recorder) == ("committed", 2 + (not hasattr(fs, "fs")), 2)
    assert own_changes(recorder, fs) == [("set", f"{folder}/a"), ("set", f"{folder}/b")]
    assert fs.cat(f"{folder}/a") == b"12"
    names = recorder.names()
    assert names.index("StoreTransactionEndEvent") < names.index("StoreSetEvent") or hasattr(fs, "fs")


def test_failing_block_discards_its_changes(place: tuple[Any, str], recorder: EventRecorder) -> None:
    fs, folder = place
    with pytest.raises(ZeroDivisionError), fs.transaction:
        write(fs, f"{folder}/a")
        raise ZeroDivisionError("secret")

    assert ended(recorder) == ("rolled_back", 1, 1)
    assert changes(recorder) == []
    assert not fs.exists(f"{folder}/a")
    end = recorder.one(StoreTransactionEndEvent)
    assert repr(end.error) == "ZeroDivisionError('ZeroDivisionError')"
    assert type(end.error) is not ZeroDivisionError


def test_transaction_without_a_block_is_observed(place: tuple[Any, str], recorder: EventRecorder) -> None:
    fs, folder = place
    fs.start_transaction()
    assert len(recorder.of(StoreTransactionStartEvent)) == 1
    write(fs, f"{folder}/a")
    fs.end_transaction()

    assert ended(recorder) == ("committed", 1, 1)
    assert own_changes(recorder, fs) == [("set", f"{folder}/a")]


def test_operations_and_changes_have_the_id_of_the_transaction(manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(make(), event_manager=manager)
    with fs.transaction:
        write(fs, "/a")
        fs.exists("/a")
    fs.exists("/a")

    ids = {event.transaction_id for event in recorder.of(StoreTransactionEvent)}
    (only,) = ids
    assert [end.transaction_id for end in recorder.of(StoreProgressEndEvent)] == [only, only, None]
    assert recorder.one(StoreModificationEvent).transaction_id == only
    assert recorder.of(StoreTransactionEndEvent)[0].store == "memory"


def test_changes_that_were_not_deferred_are_emitted_after_a_rollback(
    manager: EventManager, recorder: EventRecorder
) -> None:
    fs = make()
    fs.pipe("/old", b"1")
    observe(fs, event_manager=manager)
    with pytest.raises(ZeroDivisionError), fs.transaction:
        write(fs, "/a")
        fs.rm("/old")
        assert changes(recorder) == []
        raise ZeroDivisionError

    assert not fs.exists("/old")
    assert changes(recorder) == [("delete", "/old")]


def test_transaction_that_wrote_nothing_is_closed(manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(make(), event_manager=manager)
    with fs.transaction:
        fs.exists("/a")

    assert ended(recorder) == ("closed", 1, 0)


def test_failing_commit_is_reported(manager: EventManager, recorder: EventRecorder, tmp_path: Path) -> None:
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    with pytest.raises(FileNotFoundError), fs.transaction:
        write(fs, str(tmp_path / "gone" / "a"))

    assert ended(recorder)[0] == "commit_failed"
    assert changes(recorder) == []
    assert fs._intrans is False
    write(fs, str(tmp_path / "b"))
    assert changes(recorder) == [("set", str(tmp_path / "b"))]


def test_failing_discard_is_reported(manager: EventManager, recorder: EventRecorder, tmp_path: Path) -> None:
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    with pytest.raises(FileNotFoundError), fs.transaction:
        with fs.open(str(tmp_path / "a"), "wb") as file:
            file.write(b"1")
        Path(file.temp).unlink()
        raise ZeroDivisionError

    assert ended(recorder)[0] == "rollback_failed"


def test_transaction_of_an_observed_file_system_is_plain_outside(manager: EventManager) -> None:
    fs = observe(make(), event_manager=manager)
    with fs.transaction as transaction:
        assert isinstance(transaction, Transaction)
        assert transaction.__class__ is Transaction
    unobserve(fs)
    with fs.transaction as transaction:
        assert type(transaction) is Transaction
    assert type(fs) is MemoryFileSystem


def test_transactions_follow_each_other(manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(make(), event_manager=manager)
    for number in range(3):
        with fs.transaction:
            write(fs, f"/{number}")

    assert [end.outcome for end in recorder.of(StoreTransactionEndEvent)] == ["committed"] * 3
    assert len({end.transaction_id for end in recorder.of(StoreTransactionEndEvent)}) == 3
