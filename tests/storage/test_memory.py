"""Tests of DictMemoryStore: reads during which another thread's transaction begins or ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from encore_events import EventManager
from encore_storage.stores import DictMemoryStore
from tests.storage.support import LONG


@pytest.fixture
def store(manager: EventManager) -> DictMemoryStore:
    return DictMemoryStore(event_manager=manager)


class ActingEntries(dict[str, Any]):
    """The store's entries, with an action that runs right after the first access."""

    def __init__(self, entries: dict[str, Any], action: Callable[[], object]) -> None:
        super().__init__(entries)
        self._action: Callable[[], object] | None = action

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self._run_action()
        return found

    def copy(self) -> dict[str, Any]:
        found = super().copy()
        self._run_action()
        return found

    def _run_action(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()


READS: dict[str, Callable[[DictMemoryStore], bytes]] = {
    "one key": lambda store: store.to_bytes("a"),
    "all keys": lambda store: b"".join(store.to_bytes(key) for key in store.query_keys()),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_read_during_a_rollback_returns_the_old_bytes(
    read: Callable[[DictMemoryStore], bytes], store: DictMemoryStore, pool: ThreadPoolExecutor
) -> None:
    store.from_bytes("a", b"old")
    transaction = store.transaction()
    pool.submit(transaction.__enter__).result(LONG)
    writer = pool.submit(store.from_bytes, "a", b"new")
    writer.result(LONG)
    error = OSError("disk full")

    def roll_back() -> None:
        pool.submit(transaction.__exit__, OSError, error, None).result(LONG)

    store._entries = ActingEntries(store._entries, roll_back)

    assert read(store) == b"old"


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_read_during_a_whole_transaction_returns_the_committed_bytes(
    read: Callable[[DictMemoryStore], bytes], store: DictMemoryStore, pool: ThreadPoolExecutor
) -> None:
    def transaction() -> None:
        with store.transaction():
            store.from_bytes("a", b"new")

    store.from_bytes("a", b"old")
    store._entries = ActingEntries(store._entries, lambda: pool.submit(transaction).result(LONG))

    assert read(store) == b"new"


def test_write_first_undoes_the_remains_of_a_failed_rollback(
    store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("no way back")

    store.from_bytes("a", b"old")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"), store.transaction():
        store.from_bytes("a", b"new")
        store.from_bytes("b", b"new")
        patched.setattr(store, "_rollback_transaction", broken)
        raise OSError("disk full")

    store.from_bytes("c", b"1")
    assert sorted(store.query_keys()) == ["a", "c"]
    assert store.to_bytes("a") == b"old"
