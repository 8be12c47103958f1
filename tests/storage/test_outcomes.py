"""Every call of every store is one operation: a start, an end, and deltas that sum up to its bytes, come what may."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import InvalidKeyError, KeyNotFoundError, StoreConnectionError
from encore_storage.events import (
    Operation,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.stores.abstract import AbstractStore
from tests.storage.support import LONG, Source, put

pytestmark = pytest.mark.usefixtures("every_step")

Call = Callable[[AbstractStore], object]

SIZE = 200_000
DATA = b"x" * SIZE

LOOK, GET, RANGE, SET = ("get_metadata", None), ("get", "read"), ("get_range", "read"), ("set", "write")


def whole(manager: contextlib.AbstractContextManager[Any]) -> bytes:
    """All bytes of a file, read a little at a time."""
    with manager as file:
        return b"".join(iter(lambda: file.read(20_000), b""))


OK: dict[str, tuple[Call, list[tuple[str, str | None]]]] = {
    "get": (lambda store: whole(store.get("a").data), [LOOK, GET]),
    "get, never opened": (lambda store: store.get("a"), [LOOK]),
    "range of get": (lambda store: whole(store.get("a").range(5)), [LOOK, RANGE]),
    "get_data": (lambda store: whole(store.get_data("a")), [GET]),
    "get_data_range": (lambda store: whole(store.get_data_range("a", 5, SIZE - 5)), [RANGE]),
    "get_metadata": (lambda store: store.get_metadata("a"), [LOOK]),
    "exists": (lambda store: store.exists("a"), [("exists", None)]),
    "exists, missing": (lambda store: store.exists("missing"), [("exists", None)]),
    "set": (lambda store: put(store, "a", DATA), [SET]),
    "set of a value": (lambda store: store.set("b", store.get("a")), [LOOK, SET, GET]),
    "set_data": (lambda store: store.set_data("a", io.BytesIO(DATA)), [SET]),
    "set_metadata": (lambda store: store.set_metadata("a", {}), [("set_metadata", None)]),
    "update_metadata": (lambda store: store.update_metadata("a", {}), [("update_metadata", None)]),
    "delete": (lambda store: store.delete("a"), [("delete", None)]),
    "multiget": (lambda store: [whole(value.data) for value in store.multiget(["a"])], [LOOK, GET]),
    "multiget_data": (lambda store: [whole(data) for data in store.multiget_data(["a"])], [GET]),
    "multiget_metadata": (lambda store: list(store.multiget_metadata(["a"])), [LOOK]),
    "multiset": (lambda store: store.multiset(["b", "c"], [(io.BytesIO(DATA), {})] * 2), [SET, SET]),
    "multiset_data": (lambda store: store.multiset_data(["b"], [io.BytesIO(DATA)]), [SET]),
    "multiset_metadata": (lambda store: store.multiset_metadata(["b"], [{}]), [("set_metadata", None)]),
    "multiupdate_metadata": (lambda store: store.multiupdate_metadata(["a"], [{}]), [("update_metadata", None)]),
    "query": (lambda store: list(store.query()), [("query", None)]),
    "query_keys": (lambda store: list(store.query_keys(n=1)), [("query", None)]),
    "glob": (lambda store: list(store.glob("*")), [("query", None)]),
    "to_bytes": (lambda store: store.to_bytes("a", 1000), [GET]),
    "from_bytes": (lambda store: store.from_bytes("a", DATA), [SET]),
}
MISS: dict[str, tuple[Call, str]] = {
    "get": (lambda store: store.get("missing"), "get_metadata"),
    "get_data": (lambda store: store.get_data("missing"), "get"),
    "get_data_range": (lambda store: store.get_data_range("missing"), "get_range"),
    "get_metadata": (lambda store: store.get_metadata("missing"), "get_metadata"),
    "update_metadata": (lambda store: store.update_metadata("missing", {}), "update_metadata"),
    "delete": (lambda store: store.delete("missing"), "delete"),
    "to_bytes": (lambda store: store.to_bytes("missing"), "get"),
}
REFUSED: dict[str, tuple[Call, str]] = {
    "get": (lambda store: store.get(1), "get_metadata"),  # type: ignore[arg-type]  # so are the others
    "get_data": (lambda store: store.get_data(1), "get"),  # type: ignore[arg-type]
    "get_data_range": (lambda store: store.get_data_range("a", -1), "get_range"),
    "exists": (lambda store: store.exists(1), "exists"),  # type: ignore[arg-type]
    "set": (lambda store: put(store, "a", b"", {"a": object()}), "set"),
    "set, no file": (lambda store: store.set("a", (None, {})), "set"),  # type: ignore[arg-type]
    "set_metadata": (lambda store: store.set_metadata("a", {"a": object()}), "set_metadata"),
    "update_metadata": (lambda store: store.update_metadata("a", {"a": object()}), "update_metadata"),
    "delete": (lambda store: store.delete(1), "delete"),  # type: ignore[arg-type]
}
READS: dict[str, tuple[Callable[[AbstractStore], Any], str]] = {
    "get": (lambda store: store.get("a").data, "get"),
    "get_data": (lambda store: store.get_data("a"), "get"),
    "get_data_range": (lambda store: store.get_data_range("a", 5, SIZE), "get_range"),
    "range": (lambda store: store.get("a").range(5), "get_range"),
}
QUERIES: dict[str, Callable[[AbstractStore], Any]] = {
    "query": lambda store: store.query(),
    "query_keys": lambda store: store.query_keys(),
    "query_keys by metadata": lambda store: store.query_keys(n=1),
    "glob": lambda store: store.glob("*"),
}
INTERRUPTS = [KeyboardInterrupt("stop"), GeneratorExit("stop"), asyncio.CancelledError("stop")]
OUTCOMES = [
    pytest.param(OSError("cable"), "error", "error", id="OSError"),
    *(pytest.param(error, "cancelled", "exception", id=type(error).__name__) for error in INTERRUPTS),
]


@pytest.fixture
def filled(store: AbstractStore) -> AbstractStore:
    """The store with two keys."""
    put(store, "a", DATA, {"n": 1})
    put(store, "b", DATA, {"n": 1})
    return store


class Broken(Iterator[bytes]):
    """The chunks of a stream, until it breaks where it is told to."""

    def __init__(self, chunks: Iterator[bytes], where: str, error: BaseException) -> None:
        self._chunks = chunks
        self._where = where
        self._error = error
        self._given = False

    def __next__(self) -> bytes:
        if self._given and self._where == "in mid-stream":
            raise self._error
        self._given = True
        return next(self._chunks)[:50_000]

    def close(self) -> None:
        close = getattr(self._chunks, "close", lambda: None)
        close()
        if self._where == "at close":
            raise self._error


@pytest.fixture
def break_streams(filled: AbstractStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """Has all that is read from the store break, at open, in mid-stream or at close."""

    def break_streams(where: str, error: BaseException) -> None:
        opened, scanned = filled._open, filled._keys

        def open_broken(*arguments: Any) -> Iterator[bytes]:
            if where == "at open":
                raise error
            return Broken(opened(*arguments), where, error)

        def keys() -> Any:
            if where == "at open":
                raise error
            return Broken(scanned(), where, error)  # type: ignore[arg-type]  # of str, which can be cut as well

        monkeypatch.setattr(filled, "_open", open_broken)
        monkeypatch.setattr(filled, "_keys", keys)
        monkeypatch.setattr(filled, "_items", lambda: ((key, {"n": 1}) for key in keys()))

    return break_streams


def the_end(recorder: EventRecorder, operation: str | None = None) -> StoreProgressEndEvent:
    """The end of the one operation that was recorded, if it kept what holds for all."""
    events = [event for event in recorder.of(StoreProgressEvent) if operation in (None, event.operation)]
    start, *steps, end = events
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
        assert len({getattr(event, name) for event in events}) == 1
    assert end.operation in get_args(Operation)
    assert end.duration >= 0
    return end


def told_outcome(end: StoreProgressEndEvent) -> tuple[str, str]:
    return end.outcome, end.exit_state


@pytest.mark.parametrize(("call", "operations"), OK.values(), ids=OK)
def test_a_call_that_goes_well_is_told_as_what_it_is(
    call: Call, operations: list[tuple[str, str | None]], filled: AbstractStore, recorder: EventRecorder
) -> None:
    recorder.clear()
    call(filled)

    starts = recorder.of(StoreProgressStartEvent)
    assert [(event.operation, event.direction) for event in starts] == operations
    for operation in {event.operation for event in starts}:
        ids = {event.operation_id for event in starts if event.operation == operation}
        for identity in ids:
            one = EventRecorder(EventManager())
            one.events = [event for event in recorder.of(StoreProgressEvent) if event.operation_id == identity]
            end = the_end(one)
            assert told_outcome(end) == ("ok", "normal")
            assert (end.error, end.error_type) == (None, None)
            assert end.key == (None if operation == "query" else end.key)
            assert end.source is filled
            assert end.store == "archive"


@pytest.mark.parametrize("call", ["to_file", "from_file"])
def test_files_are_told_as_what_they_are_read_from_and_written_to(
    call: str, filled: AbstractStore, recorder: EventRecorder, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    recorder.clear()
    getattr(filled, call)("a", path)

    end = the_end(recorder)
    assert (end.operation, end.direction) == (("get", "read") if call == "to_file" else ("set", "write"))
    assert end.bytes == end.steps == SIZE


@pytest.mark.parametrize(("call", "operation"), MISS.values(), ids=MISS)
def test_a_missing_key_is_a_miss(call: Call, operation: str, store: AbstractStore, recorder: EventRecorder) -> None:
    with pytest.raises(KeyNotFoundError) as caught:
        call(store)

    end = the_end(recorder)
    assert (end.operation, end.key, end.bytes) == (operation, "missing", 0)
    assert told_outcome(end) == ("miss", "warning")
    assert (end.error, end.error_type) == (caught.value, "not_found")


@pytest.mark.parametrize(("call", "operation"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_an_error_that_is_told_too(
    call: Call, operation: str, filled: AbstractStore, recorder: EventRecorder
) -> None:
    recorder.clear()
    with pytest.raises((TypeError, ValueError)) as caught:
        call(filled)

    end = the_end(recorder)
    assert (end.operation, end.bytes) == (operation, 0)
    assert told_outcome(end) == ("error", "error")
    assert (end.error, end.error_type) == (caught.value, "invalid")


def test_a_call_on_a_store_that_was_disconnected_is_an_error_that_is_told_too(
    store: AbstractStore, recorder: EventRecorder
) -> None:
    store.disconnect()
    with pytest.raises(StoreConnectionError):
        store.query()

    end = the_end(recorder)
    assert (end.operation, end.outcome, end.error_type) == ("query", "error", "connection")


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_a_read_that_breaks_at_open_is_over(
    read: Call,
    operation: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    filled: AbstractStore,
    recorder: EventRecorder,
    break_streams: Callable[[str, BaseException], None],
) -> None:
    break_streams("at open", error)
    recorder.clear()

    with pytest.raises(type(error)):
        read(filled)

    end = the_end(recorder, operation)
    assert told_outcome(end) == (outcome, exit_state)
    assert (end.bytes, end.error) == (0, error)


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_a_read_that_breaks_in_mid_stream_is_over_with_what_was_read(
    read: Callable[[AbstractStore], Any],
    operation: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    filled: AbstractStore,
    recorder: EventRecorder,
    break_streams: Callable[[str, BaseException], None],
) -> None:
    break_streams("in mid-stream", error)
    recorder.clear()

    with pytest.raises(type(error)), read(filled) as data:
        assert len(data.read(1000)) == 1000
        data.read()

    end = the_end(recorder, operation)
    assert told_outcome(end) == (outcome, exit_state)
    assert (end.bytes, end.error) == (1000, error)


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_a_read_that_breaks_at_close_is_over_with_what_was_read(
    read: Callable[[AbstractStore], Any],
    operation: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    filled: AbstractStore,
    recorder: EventRecorder,
    break_streams: Callable[[str, BaseException], None],
) -> None:
    break_streams("at close", error)
    recorder.clear()

    data = read(filled)
    assert len(data.read(1000)) == 1000
    with pytest.raises(type(error)):
        data.close()
    data.close()

    end = the_end(recorder, operation)
    assert told_outcome(end) == (outcome, exit_state)
    assert (end.bytes, end.error) == (1000, error)


@pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
def test_an_early_close_is_ok_with_what_was_read(
    read: Callable[[AbstractStore], Any], operation: str, filled: AbstractStore, recorder: EventRecorder
) -> None:
    recorder.clear()
    with read(filled) as data:
        data.read(1000)
        data.read1(50)

    end = the_end(recorder, operation)
    assert told_outcome(end) == ("ok", "normal")
    assert end.bytes == 1050


@pytest.mark.parametrize("last", [b"", None])
def test_a_read_that_meets_the_end_is_the_end_and_what_comes_after_it_is_nothing(
    last: bytes | None, filled: AbstractStore, recorder: EventRecorder
) -> None:
    recorder.clear()
    with filled.get_data("a") as data:
        if last is None:
            assert data.read(2 * SIZE) == DATA
        else:
            assert data.read(SIZE) == DATA
            assert recorder.of(StoreProgressEndEvent) == []
            assert data.read(1) == last
        assert the_end(recorder).bytes == SIZE
        assert data.read() == b""

    assert the_end(recorder).bytes == SIZE


def test_the_last_byte_that_is_expected_is_told_by_the_end_alone(
    filled: AbstractStore, recorder: EventRecorder
) -> None:
    recorder.clear()
    whole(filled.get_data("a"))

    assert [event.step for event in recorder.of(StoreProgressStepEvent)] == list(range(20_000, SIZE, 20_000))
    assert {event.steps for event in recorder.of(StoreProgressStepEvent)} == {SIZE}
    assert the_end(recorder).delta == 20_000


def test_a_step_of_a_set_tells_what_the_store_has_accepted(store: AbstractStore, recorder: EventRecorder) -> None:
    store.set_data("a", Source(b"1" * 1000, b"2" * 1000, b"3" * 1000))

    assert [event.step for event in recorder.of(StoreProgressStepEvent)] == [1000, 2000]
    end = the_end(recorder)
    assert (end.bytes, end.delta, end.steps) == (3000, 1000, -1)


@pytest.mark.parametrize("call", ["set", "set_data"])
@pytest.mark.parametrize("before", [(), (b"1" * 1000, b"2" * 1000)], ids=["at open", "in mid-stream"])
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_a_set_whose_source_fails_is_over_with_what_was_accepted(
    call: str,
    before: tuple[bytes, ...],
    error: BaseException,
    outcome: str,
    exit_state: str,
    store: AbstractStore,
    recorder: EventRecorder,
) -> None:
    source = Source(*before, error)
    with pytest.raises(type(error)):
        store.set("a", (source, {})) if call == "set" else store.set_data("a", source)

    end = the_end(recorder)
    assert (end.operation, end.direction, end.key) == ("set", "write", "a")
    assert told_outcome(end) == (outcome, exit_state)
    assert (end.bytes, end.error) == (1000 * len(before), error)
    assert recorder.of(StoreModificationEvent) == []


@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_a_set_that_the_store_gives_up_at_its_close_is_over(
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

    end = the_end(recorder)
    assert told_outcome(end) == (outcome, exit_state)
    assert end.bytes == 3000


def test_a_set_of_a_value_that_went_missing_is_an_error_and_no_miss(
    store: AbstractStore, recorder: EventRecorder
) -> None:
    put(store, "a", DATA)
    missing = KeyNotFoundError("elsewhere", "another store")
    with pytest.raises(KeyNotFoundError):
        store.set_data("a", Source(b"1", missing))

    (end,) = [end for end in recorder.of(StoreProgressEndEvent) if end.outcome != "ok"]
    assert (end.operation, end.outcome, end.error_type) == ("set", "error", "not_found")


@pytest.mark.parametrize(
    ("query", "where"),
    [
        *((query, "at open") for query in QUERIES),
        *((query, "in mid-stream") for query in QUERIES),
        ("query_keys", "at close"),  # what stands between in the others closes nothing: it is collected
    ],
)
@pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
def test_a_query_that_breaks_is_over(
    query: str,
    where: str,
    error: BaseException,
    outcome: str,
    exit_state: str,
    filled: AbstractStore,
    recorder: EventRecorder,
    break_streams: Callable[[str, BaseException], None],
) -> None:
    break_streams(where, error)
    recorder.clear()

    with pytest.raises(type(error)), QUERIES[query](filled) as listing:
        next(listing)
        if where == "in mid-stream":
            next(listing)

    end = the_end(recorder)
    assert (end.operation, end.direction, end.key, end.bytes) == ("query", None, None, 0)
    assert told_outcome(end) == (outcome, exit_state)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_is_over_with_its_last_result_or_its_close_whichever_comes_first(
    query: Callable[[AbstractStore], Any], filled: AbstractStore, recorder: EventRecorder
) -> None:
    recorder.clear()
    with query(filled) as listing:
        next(listing)
        assert recorder.of(StoreProgressEndEvent) == []
    assert told_outcome(the_end(recorder)) == ("ok", "normal")

    recorder.clear()
    listing = query(filled)
    assert len(list(listing)) == 2
    listing.close()
    assert list(listing) == []
    assert told_outcome(the_end(recorder)) == ("ok", "normal")


UNCLOSED: dict[str, tuple[Callable[[AbstractStore], Any], str, int]] = {
    "get_data": (lambda store: store.get_data("a"), "get", 1000),
    "get_data_range": (lambda store: store.get_data_range("a", 5), "get_range", 1000),
    "get": (lambda store: store.get("a"), "get", 1000),
    "query": (lambda store: store.query(), "query", 0),
    "query_keys": (lambda store: store.query_keys(), "query", 0),
    "glob": (lambda store: store.glob("*"), "query", 0),
}


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Lets the test say when garbage is collected."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the collection finds what is below the stream unclosed as well
@pytest.mark.parametrize(("opened", "operation", "count"), UNCLOSED.values(), ids=UNCLOSED)
@pytest.mark.parametrize("is_in_a_cycle", [False, True], ids=["by its last reference", "by the garbage collector"])
def test_what_is_collected_unclosed_is_told_as_cancelled_and_never_inside_the_collection(
    is_in_a_cycle: bool,
    opened: Callable[[AbstractStore], Any],
    operation: str,
    count: int,
    filled: AbstractStore,
    manager: EventManager,
    recorder: EventRecorder,
) -> None:
    lock, told, told_in = threading.Lock(), threading.Event(), []

    def listen(event: StoreProgressEndEvent) -> None:
        with lock:
            told_in.append(threading.get_ident())
        told.set()

    recorder.clear()
    manager.connect(StoreProgressEndEvent, listen, {"operation": operation})
    leaking: list[Any] = [opened(filled)]
    if is_in_a_cycle:
        leaking.append(leaking)
    if operation == "query":
        next(leaking[0])
    else:
        assert len(getattr(leaking[0], "data", leaking[0]).read(1000)) == 1000
    with lock:
        del leaking
        gc.collect(0)
        assert told_in == []
    assert told.wait(LONG)

    assert told_in != [threading.get_ident()]
    end = the_end(recorder, operation)
    assert told_outcome(end) == ("cancelled", "exception")
    assert end.bytes == count
    assert isinstance(end.error, asyncio.CancelledError)
    assert "collected before it was closed" in str(end.error)


def test_what_was_read_to_its_end_may_be_collected_unclosed(filled: AbstractStore, recorder: EventRecorder) -> None:
    recorder.clear()
    filled.get_data("a").read()
    list(filled.query())

    assert [event.outcome for event in recorder.of(StoreProgressEndEvent)] == ["ok", "ok"]


def test_what_happens_in_a_transaction_carries_its_id(filled: AbstractStore, recorder: EventRecorder) -> None:
    recorder.clear()
    with filled.transaction():
        filled.to_bytes("a")
    filled.to_bytes("a")

    inside, outside = (event.transaction_id for event in recorder.of(StoreProgressEndEvent))
    assert (inside is not None) is filled.info()["transactional"]
    assert outside is None


def test_a_listener_of_the_end_finds_the_store_free(
    store: AbstractStore, manager: EventManager, recorder: EventRecorder
) -> None:
    failures = []

    def write(event: StoreProgressEndEvent) -> None:
        thread = threading.Thread(target=store.from_bytes, args=("noted", b"1"))
        thread.start()
        thread.join(LONG)
        failures.append(thread.is_alive())

    with manager.connect(StoreProgressEndEvent, write, {"key": "a"}):
        put(store, "a", b"1")
        store.update_metadata("a", {"n": 1})
        with contextlib.suppress(InvalidKeyError):
            store.delete("a")

    assert failures == [False] * 3
    assert store.to_bytes("noted") == b"1"
