"""Helpers of the contract's tests: sources, content, and jobs in other threads."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import get_args

import pytest

from encore_events import BaseEvent
from encore_events.testing import EventRecorder
from encore_storage.events import (
    Operation,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEvent,
)
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore

A_MOMENT = 0.05
"""Seconds in which something that must not happen would have happened."""

START, END, SET = "StoreTransactionStartEvent", "StoreTransactionEndEvent", "StoreSetEvent"


class Source:
    """A file that returns one answer per read, then nothing; an answer that is an error is raised."""

    def __init__(self, *answers: bytes | BaseException) -> None:
        """Make a source of its answers."""
        self.answers = list(answers)

    def read(self, size: int, /) -> bytes:
        """Return or raise the next answer."""
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, BaseException):
            raise answer
        return answer


def put(store: AbstractStore, key: str, data: bytes, metadata: Metadata | None = None) -> None:
    """Set the value under the key."""
    store.set(key, (io.BytesIO(data), {} if metadata is None else metadata))


def content(store: AbstractStore, key: str) -> tuple[bytes, Metadata]:
    """Return the value under the key."""
    return store.to_bytes(key), store.get_metadata(key)


def snapshot(store: AbstractStore) -> dict[str, tuple[bytes, Metadata]]:
    """Return all values, after checking that every listing agrees about them."""
    keys = list(store.query_keys())
    queried = dict(store.query())
    values = {key: content(store, key) for key in keys}
    assert queried == {key: metadata for key, (_, metadata) in values.items()}
    assert all(map(store.exists, keys))
    return values


def keep(store: AbstractStore, key: str, error: BaseException | None = None) -> None:
    """Set a key in a transaction of its own, and raise the error in it."""
    with store.transaction(key):
        store.from_bytes(key, b"1")
        if error is not None:
            raise error


def names_of_changes(recorder: EventRecorder) -> list[str]:
    """Return the class names of the transaction and modification events, in order."""
    classes = (StoreTransactionEvent, StoreModificationEvent)
    return [type(event).__name__ for event in recorder.events if isinstance(event, classes)]


def checked_end(events: list[BaseEvent], operation: str | None = None) -> StoreProgressEndEvent:
    """Return the end of the only operation in `events`, after checking what holds for every operation."""
    start, *steps, end = [
        event for event in events if isinstance(event, StoreProgressEvent) and operation in (None, event.operation)
    ]
    assert isinstance(start, StoreProgressStartEvent)
    assert isinstance(end, StoreProgressEndEvent)
    total = 0
    for step in steps:
        assert isinstance(step, StoreProgressStepEvent)
        total += step.delta
        assert step.step == total
        assert step.delta > 0
    assert total + end.delta == end.bytes
    for name in ("source", "store", "operation", "direction", "key", "transaction_id", "operation_id"):
        assert len({getattr(event, name) for event in (start, *steps, end)}) == 1
    assert end.operation in get_args(Operation)
    assert end.duration >= 0
    return end


def run_together(pool: Executor, jobs: Sequence[Callable[[], object]], patience: float) -> None:
    """Run the jobs in threads that start at the same time, and wait for all of them."""
    together = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        together.wait(patience)
        job()

    for future in [pool.submit(run, job) for job in jobs]:
        future.result(patience)


def assert_still_waits(future: Future[None]) -> None:
    """Check that the job in another thread does not end within a moment."""
    with pytest.raises(TimeoutError):
        future.result(A_MOMENT)


class SlowSource:
    """A file that returns b"new"; its first read waits until the test sets `may_go_on`."""

    def __init__(self, patience: float) -> None:
        """Make the file; it waits for at most `patience` seconds."""
        self.is_reading, self.may_go_on = threading.Event(), threading.Event()
        self._patience = patience

    def read(self, size: int, /) -> bytes:
        """Wait, and return all bytes; then return none."""
        if self.is_reading.is_set():
            return b""
        self.is_reading.set()
        assert self.may_go_on.wait(self._patience)
        return b"new"


class Elsewhere:
    """A transaction in another thread, which has set a key and waits for the test to end it."""

    def __init__(self, pool: Executor, store: AbstractStore, patience: float, key: str = "theirs") -> None:
        """Begin the transaction and set the key."""
        self._is_set = threading.Event()
        self._may_end = threading.Event()
        self._store = store
        self._key = key
        self._patience = patience
        self._error: BaseException | None = None
        self._done = pool.submit(self._run)
        self._done.add_done_callback(lambda done: self._is_set.set())
        assert self._is_set.wait(patience)
        if self._done.done():
            self._done.result()

    def _run(self) -> None:
        with self._store.transaction("elsewhere"):
            self._store.from_bytes(self._key, b"1")
            self._is_set.set()
            assert self._may_end.wait(self._patience)
            if self._error is not None:
                raise self._error

    def end(self, error: BaseException | None = None) -> None:
        """Commit, or raise the error in the block."""
        self._error = error
        self._may_end.set()
        with suppress(*([type(error)] if error else [])):
            self._done.result(self._patience)
