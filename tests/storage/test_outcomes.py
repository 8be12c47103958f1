"""Outcomes of reads and writes that break inside the backend."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.calls import DATA, LISTINGS, READS, Call
from encore_storage.testing.kit import checked_end
from encore_storage.testing.outcomes import OUTCOMES
from encore_storage.value import ListedKey
from tests.storage.support import Source, put, settled

pytestmark = pytest.mark.usefixtures("every_step")

BreakStreams = Callable[[str, BaseException], None]


@pytest.fixture
def two_keys(store: AbstractStore, recorder: EventRecorder) -> AbstractStore:
    """Return the store with two keys; nothing is recorded yet."""
    put(store, "a", DATA, {"n": 1})
    put(store, "b", DATA, {"n": 1})
    recorder.clear()
    return store


class Broken(Iterator[bytes]):
    """The chunks of a stream that breaks in mid-stream or at its close."""

    def __init__(self, chunks: Iterator[bytes], where: str, error: BaseException) -> None:
        self._chunks = chunks
        self._where = where
        self._error = error
        self._has_yielded = False

    def __next__(self) -> bytes:
        if self._has_yielded and self._where == "in mid-stream":
            raise self._error
        self._has_yielded = True
        return next(self._chunks)[:50_000]

    def close(self) -> None:
        close = getattr(self._chunks, "close", lambda: None)
        close()
        if self._where == "at close":
            raise self._error


@pytest.fixture
def break_streams(two_keys: AbstractStore, monkeypatch: pytest.MonkeyPatch) -> BreakStreams:
    """Return a function that breaks all streams of the store at open, in mid-stream or at close."""

    def break_streams(where: str, error: BaseException) -> None:
        open_, keys = two_keys._open, two_keys._keys

        def open_broken(*arguments: Any) -> Iterator[bytes]:
            if where == "at open":
                raise error
            return Broken(open_(*arguments), where, error)

        def broken_keys() -> Any:
            if where == "at open":
                raise error
            return Broken(keys(), where, error)  # type: ignore[arg-type]  # of str, which can be cut as well

        monkeypatch.setattr(two_keys, "_open", open_broken)
        monkeypatch.setattr(two_keys, "_keys", broken_keys)
        listed = partial(ListedKey, size=1, created=0.0, modified=0.0)
        monkeypatch.setattr(two_keys, "_listing", lambda prefix: (listed(key) for key in broken_keys()))
        monkeypatch.setattr(two_keys, "_items", lambda: ((key, {"n": 1}) for key in broken_keys()))

    return break_streams


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_read_that_breaks_at_open_ends(
    read: Call,
    operation: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    two_keys: AbstractStore,
    recorder: EventRecorder,
    break_streams: BreakStreams,
) -> None:
    break_streams("at open", error)

    with pytest.raises(type(error)):
        read(two_keys)

    end = checked_end(recorder.events, operation)
    assert (end.outcome, end.exit_state) == (outcome, exit_state)
    assert (end.bytes, end.error) == (0, error)


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_read_that_breaks_in_mid_stream_ends_with_the_bytes_read(
    read: Call,
    operation: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    two_keys: AbstractStore,
    recorder: EventRecorder,
    break_streams: BreakStreams,
) -> None:
    break_streams("in mid-stream", error)

    with pytest.raises(type(error)), read(two_keys) as data:
        assert len(data.read(1000)) == 1000
        data.read()

    end = checked_end(recorder.events, operation)
    assert (end.outcome, end.exit_state) == (outcome, exit_state)
    assert (end.bytes, end.error) == (1000, error)


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_read_that_breaks_at_close_ends_with_the_bytes_read(
    read: Call,
    operation: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    two_keys: AbstractStore,
    recorder: EventRecorder,
    break_streams: BreakStreams,
) -> None:
    break_streams("at close", error)

    data = read(two_keys)
    assert len(data.read(1000)) == 1000
    with pytest.raises(type(error)):
        data.close()
    data.close()

    end = checked_end(recorder.events, operation)
    assert (end.outcome, end.exit_state) == (outcome, exit_state)
    assert (end.bytes, end.error) == (1000, error)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        *((query, "at open") for query in LISTINGS),
        *((query, "in mid-stream") for query in LISTINGS),
        ("query_keys", "at close"),  # the others are generators over the keys, which are collected and not closed
    ],
)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_query_that_breaks_ends(
    query: str,
    where: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    two_keys: AbstractStore,
    recorder: EventRecorder,
    break_streams: BreakStreams,
) -> None:
    break_streams(where, error)

    with pytest.raises(type(error)), LISTINGS[query](two_keys) as listing:
        next(listing)
        if where == "in mid-stream":
            next(listing)

    end = checked_end(recorder.events)
    assert (end.operation, end.direction, end.key, end.bytes) == ("list" if query == "list" else "query", None, None, 0)
    assert (end.outcome, end.exit_state) == (outcome, exit_state)


@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_set_that_breaks_after_the_last_chunk_ends_with_all_bytes(
    error: BaseException,
    outcome: str,
    exit_state: str,
    store: AbstractStore,
    recorder: EventRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken_put(key: str, chunks: Iterator[bytes], metadata: object) -> None:
        assert len(b"".join(chunks)) == 3000
        raise error

    monkeypatch.setattr(store, "_put", broken_put)
    with pytest.raises(type(error)):
        store.set_data("a", Source(b"1" * 1000, b"2" * 2000))

    end = checked_end(recorder.events)
    assert (end.outcome, end.exit_state) == (outcome, exit_state)
    assert end.bytes == 3000


@pytest.mark.parametrize("kind", ["buffered", "query"])
def test_reader_collected_in_a_cycle_before_its_first_read_is_cancelled(
    kind: str, manager: EventManager, recorder: EventRecorder
) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("a", b"1" * 100)
    recorder.clear()
    threads: list[int] = []
    manager.connect(StoreProgressEndEvent, lambda event: threads.append(threading.get_ident()))

    garbage: list[Any] = [io.BufferedReader(store.get_data("a")) if kind == "buffered" else store.query_keys()]
    garbage.append(garbage)
    del garbage
    gc.collect()
    settled()

    assert recorder.one(StoreProgressEndEvent).outcome == "cancelled"
    assert threads != [threading.get_ident()]
