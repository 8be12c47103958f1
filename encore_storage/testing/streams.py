"""The contract of streams: the operation of a stream or a query ends with it, closed or not."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent, StoreProgressStepEvent
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.calls import DATA, LISTINGS, READS, SIZE, Call, CallContract, whole
from encore_storage.testing.kit import checked_end

UNCLOSED: dict[str, tuple[Call, str, int]] = {
    "get_data": (lambda store: store.get_data("a"), "get", 1000),
    "get_data_range": (lambda store: store.get_data_range("a", 5), "get_range", 1000),
    "get": (lambda store: store.get("a"), "get", 1000),
    "query": (lambda store: store.query(), "query", 0),
    "query_keys": (lambda store: store.query_keys(), "query", 0),
    "glob": (lambda store: store.glob("*"), "query", 0),
    "list": (lambda store: store.list(), "list", 0),
}


class StreamContract(CallContract):
    """The rules of the end of a stream or a query."""

    @pytest.fixture
    def no_collection(self) -> Iterator[None]:
        """Let the test decide when garbage is collected."""
        gc.disable()
        yield
        gc.enable()

    @pytest.mark.parametrize(("read", "operation"), READS.values(), ids=READS)
    def test_early_close_is_ok(
        self, read: Call, operation: str, two_keys: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A stream that is closed early ends with outcome 'ok' and the bytes that were read."""
        with read(two_keys) as data:
            data.read(1000)
            data.read1(50)

        end = checked_end(recorder.events, operation)
        assert (end.outcome, end.exit_state) == ("ok", "normal")
        assert end.bytes == 1050

    @pytest.mark.parametrize("last", [b"", None])
    def test_read_that_finds_the_end_ends_the_operation(
        self, last: bytes | None, two_keys: AbstractStore, recorder: EventRecorder
    ) -> None:
        """The operation ends with the read that returns fewer bytes than asked for; later calls emit nothing."""
        with two_keys.get_data("a") as data:
            if last is None:
                assert data.read(2 * SIZE) == DATA
            else:
                assert data.read(SIZE) == DATA
                assert recorder.of(StoreProgressEndEvent) == []
                assert data.read(1) == last
            assert checked_end(recorder.events).bytes == SIZE
            assert data.read() == b""

        assert checked_end(recorder.events).bytes == SIZE

    def test_last_bytes_are_emitted_by_the_end(self, two_keys: AbstractStore, recorder: EventRecorder) -> None:
        """The steps know the size of the value, and the last bytes are the delta of the end."""
        whole(two_keys.get_data("a"))

        assert [event.step for event in recorder.of(StoreProgressStepEvent)] == list(range(20_000, SIZE, 20_000))
        assert {event.steps for event in recorder.of(StoreProgressStepEvent)} == {SIZE}
        assert checked_end(recorder.events).delta == 20_000

    @pytest.mark.parametrize("query", LISTINGS.values(), ids=LISTINGS)
    def test_query_ends_with_its_last_result_or_its_close(
        self, query: Call, two_keys: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A query ends with outcome 'ok' after its last result or when it is closed, whichever comes first."""
        with query(two_keys) as listing:
            next(listing)
            assert recorder.of(StoreProgressEndEvent) == []
        end = checked_end(recorder.events)
        assert (end.outcome, end.exit_state) == ("ok", "normal")

        recorder.clear()
        listing = query(two_keys)
        assert len(list(listing)) == 2
        listing.close()
        assert list(listing) == []
        end = checked_end(recorder.events)
        assert (end.outcome, end.exit_state) == ("ok", "normal")

    @pytest.mark.usefixtures("no_collection")
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # what the stream itself has opened is collected as well
    @pytest.mark.parametrize(("opened", "operation", "count"), UNCLOSED.values(), ids=UNCLOSED)
    @pytest.mark.parametrize("is_in_a_cycle", [False, True], ids=["last reference", "garbage collector"])
    def test_collected_unclosed_is_cancelled(
        self,
        is_in_a_cycle: bool,
        opened: Call,
        operation: str,
        count: int,
        two_keys: AbstractStore,
        manager: EventManager,
        recorder: EventRecorder,
    ) -> None:
        """A stream or query that is collected unclosed ends as 'cancelled', and never inside the collection.

        Its end is emitted by another thread, since a lock of a listener may be held where garbage is collected.
        """
        lock, has_ended, threads = threading.Lock(), threading.Event(), []

        def listen(event: StoreProgressEndEvent) -> None:
            with lock:
                threads.append(threading.get_ident())
            has_ended.set()

        manager.connect(StoreProgressEndEvent, listen, {"operation": operation})
        leaking: list[Any] = [opened(two_keys)]
        if is_in_a_cycle:
            leaking.append(leaking)
        if operation in ("query", "list"):
            next(leaking[0])
        else:
            assert len(getattr(leaking[0], "data", leaking[0]).read(1000)) == 1000
        with lock:
            del leaking
            gc.collect(0)
            assert threads == []
        assert has_ended.wait(self.patience)

        assert threads != [threading.get_ident()]
        end = checked_end(recorder.events, operation)
        assert (end.outcome, end.exit_state) == ("cancelled", "exception")
        assert end.bytes == count
        assert isinstance(end.error, asyncio.CancelledError)
        assert "collected before it was closed" in str(end.error)

    @pytest.mark.parametrize("ends", ["closed", "collected"])
    def test_stream_that_sought_ends_with_its_close_or_collection(
        self, ends: str, two_keys: AbstractStore, manager: EventManager, recorder: EventRecorder
    ) -> None:
        """After a seek, the operation ends with the close or collection of the stream: 'ok', with all bytes read."""
        has_ended = threading.Event()
        data = two_keys.get_data("a")
        if not data.seekable():
            data.close()
            pytest.skip("the streams of this store cannot seek")
        manager.connect(StoreProgressEndEvent, lambda event: has_ended.set())
        assert len(data.read(1000)) == 1000
        data.seek(10)
        assert len(data.read()) == SIZE - 10
        assert data.read(1) == b""
        data.seek(-100, 2)
        assert len(data.read(1000)) == 100
        assert recorder.of(StoreProgressEndEvent) == []
        if ends == "closed":
            data.close()
        del data
        gc.collect()
        assert has_ended.wait(self.patience)

        end = checked_end(recorder.events)
        assert (end.outcome, end.exit_state, end.error) == ("ok", "normal", None)
        assert end.bytes == 1000 + SIZE - 10 + 100

    def test_collected_unclosed_after_its_end_is_ok(self, two_keys: AbstractStore, recorder: EventRecorder) -> None:
        """A stream or query that was read to its end need not be closed."""
        two_keys.get_data("a").read()
        list(two_keys.query())

        assert [event.outcome for event in recorder.of(StoreProgressEndEvent)] == ["ok", "ok"]
