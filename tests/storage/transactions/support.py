"""Helpers of the transaction tests."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from encore_events.testing import EventRecorder
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.transactions.contexts import TransactionState
from tests.storage.support import END, LONG, SET, START, Transactional, recorded_names, set_in_transaction

Fail = Callable[..., None]

INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]

BRIEF = 0.05
"""Seconds to wait before asserting that something has not happened."""


class FalsyError(Exception):
    """An error that is false, as one with a length of zero."""

    __len__ = staticmethod(lambda: 0)


class OtherThread:
    """A transaction in another thread that has written a key. It stays open until `end()`."""

    def __init__(self, pool: ThreadPoolExecutor, store: Transactional, key: str = "theirs") -> None:
        self._written = threading.Event()
        self._ending = threading.Event()
        self._store = store
        self._key = key
        self._error: BaseException | None = None
        self._done = pool.submit(self._run)
        assert self._written.wait(LONG)

    def _run(self) -> None:
        with self._store.transaction("other thread"):
            self._store.from_bytes(self._key, b"1")
            self._written.set()
            assert self._ending.wait(LONG)
            if self._error is not None:
                raise self._error

    def end(self, error: BaseException | None = None) -> None:
        """Let the transaction commit, or raise `error` inside it."""
        self._error = error
        self._ending.set()
        with suppress(*([type(error)] if error else [])):
            self._done.result(LONG)


def outcome(recorder: EventRecorder) -> str:
    """Return the outcome of the one recorded transaction."""
    return recorder.one(StoreTransactionEndEvent).outcome


def formatted(error: BaseException) -> str:
    """Return the traceback of the error, with its causes and contexts."""
    return "".join(traceback.format_exception(error))


def assert_usable(store: Transactional, recorder: EventRecorder) -> None:
    """Assert that a new transaction works in this thread and in another one."""
    assert TransactionState.of(store).active is None

    recorder.clear()
    set_in_transaction(store, "here")
    with ThreadPoolExecutor() as pool:
        pool.submit(set_in_transaction, store, "there").result(LONG)
    assert store.exists("here")
    assert store.exists("there")
    assert recorded_names(recorder) == [START, END, SET] * 2


def assert_waits(future: Future[None]) -> None:
    """Assert that the call is still waiting after a brief time."""
    with pytest.raises(TimeoutError):
        future.result(BRIEF)
