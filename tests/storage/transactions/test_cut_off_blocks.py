"""An interrupt cuts off a block before the first line of its exit, and its traceback keeps the block alive."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from encore_events.testing import EventRecorder
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.transactions.contexts import TransactionBlocks
from tests.storage.support import LONG, Transactional, set_in_transaction, settled
from tests.storage.transactions.support import assert_usable, outcome


def cut_off(store: Transactional) -> KeyboardInterrupt:
    """Interrupt a transaction as it exits, and return the interrupt with its traceback."""

    def interrupt(frame: FrameType, event: str, arg: object) -> None:
        if frame.f_code is TransactionBlocks.__exit__.__code__:
            sys.settrace(None)
            raise KeyboardInterrupt

    before = sys.gettrace()
    try:
        sys.settrace(interrupt)
        with store.transaction("cut off"):
            store.from_bytes("lost", b"1")
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.settrace(before)
    raise AssertionError("the block was not interrupted")


@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "write"])
def test_writes_while_handling_the_interrupt_are_kept(
    store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor, transaction: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        try:
            raise cut_off(store)
        except KeyboardInterrupt:
            set_in_transaction(store, "later") if transaction else store.from_bytes("later", b"1")
            assert pool.submit(store.exists, "later").result(LONG)
            raise

    assert not store.exists("lost")
    outcomes = [event.outcome for event in recorder.of(StoreTransactionEndEvent)]
    assert outcomes == ["rolled_back", "committed"][: 1 + transaction]


def test_transaction_rolls_back_when_traceback_is_collected(store: Transactional, recorder: EventRecorder) -> None:
    error = cut_off(store)
    del error
    gc.collect()
    settled()

    assert outcome(recorder) == "rolled_back"
    assert not store.exists("lost")
    assert_usable(store, recorder)
