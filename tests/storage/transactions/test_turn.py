"""The turn of one writer at a time, and the state that concurrent first users share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from encore_events import EventManager
from encore_storage.errors import TransactionTimeoutError
from encore_storage.transactions.contexts import DummyTransactionContext, TransactionState
from encore_storage.transactions.turn import Turn
from tests.storage.support import LONG, RecordingStore


def has_turn(turn: Turn) -> bool:
    return turn.mine is not None


def test_turn_is_reentrant_and_free_after_last_exit(pool: ThreadPoolExecutor) -> None:
    turn = Turn("archive", None)
    with turn.taken(), turn.taken():
        assert has_turn(turn)
        assert not pool.submit(has_turn, turn).result(LONG)

    assert turn.mine is None
    with turn.taken():
        assert has_turn(turn)


def test_turn_with_zero_timeout_raises_at_once(pool: ThreadPoolExecutor) -> None:
    turn = Turn("archive", 0)
    with turn.taken(), pytest.raises(TransactionTimeoutError, match="'archive'"):
        pool.submit(turn.taken().__enter__).result(LONG)


def test_concurrent_first_users_share_one_state(manager: EventManager, pool: ThreadPoolExecutor) -> None:
    store, together = RecordingStore(event_manager=manager), threading.Barrier(8)

    def state() -> TransactionState:
        together.wait(LONG)
        return TransactionState.of(store)

    states = [pool.submit(state) for _ in range(8)]
    assert len({id(future.result(LONG)) for future in states}) == 1


def test_concurrent_first_users_share_one_dummy(manager: EventManager, pool: ThreadPoolExecutor) -> None:
    store, together = RecordingStore(event_manager=manager), threading.Barrier(8)

    def dummy() -> DummyTransactionContext:
        together.wait(LONG)
        return DummyTransactionContext(store)

    dummies = [pool.submit(dummy) for _ in range(8)]
    assert len({id(future.result(LONG)) for future in dummies}) == 1
