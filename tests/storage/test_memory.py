"""DictMemoryStore: what a reader sees while another thread's transaction begins and ends under its hands."""

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


class Interrupting(dict[str, Any]):
    """The store's entries, where something happens just after they were looked at for the first time."""

    def __init__(self, entries: dict[str, Any], happens: Callable[[], object]) -> None:
        super().__init__(entries)
        self._happens: Callable[[], object] | None = happens

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self._let_it_happen()
        return found

    def copy(self) -> dict[str, Any]:
        found = super().copy()
        self._let_it_happen()
        return found

    def _let_it_happen(self) -> None:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()


LOOKS: dict[str, Callable[[DictMemoryStore], bytes]] = {
    "one key": lambda store: store.to_bytes("a"),
    "all keys": lambda store: b"".join(store.to_bytes(key) for key in store.query_keys()),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_reader_whose_look_at_uncommitted_bytes_is_followed_by_their_rollback_sees_the_old_ones(
    look: Callable[[DictMemoryStore], bytes], store: DictMemoryStore, pool: ThreadPoolExecutor
) -> None:
    store.from_bytes("a", b"old")
    transaction = store.transaction()
    pool.submit(transaction.__enter__).result(LONG)
    writer = pool.submit(store.from_bytes, "a", b"new")
    writer.result(LONG)
    error = OSError("disk full")

    def roll_back() -> None:
        pool.submit(transaction.__exit__, OSError, error, None).result(LONG)

    store._entries = Interrupting(store._entries, roll_back)

    assert look(store) == b"old"


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_reader_who_looks_while_a_transaction_begins_and_commits_sees_what_it_committed(
    look: Callable[[DictMemoryStore], bytes], store: DictMemoryStore, pool: ThreadPoolExecutor
) -> None:
    def transaction() -> None:
        with store.transaction():
            store.from_bytes("a", b"new")

    store.from_bytes("a", b"old")
    store._entries = Interrupting(store._entries, lambda: pool.submit(transaction).result(LONG))

    assert look(store) == b"new"


def test_a_write_outside_of_a_transaction_first_undoes_what_a_broken_rollback_left(
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
