"""StoreObserver observes a class that is no store of ours, has slots, and has its own idea of a miss."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from encore_events import BaseEventManager, EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import ForkedStoreError, TransactionError
from encore_storage.events import (
    StoreDeleteEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.observing import ObservedTransaction, Operation, StoreObserver, StoreProgressManager
from encore_storage.subscribers import MetricsSubscriber
from tests.storage.support import settled

DATA = b"one\ntwo\nthree"


class NoSuchFileError(Exception):
    """The client's own idea of a miss."""


class Client:
    """A client of somebody else's, which knows nothing of Encore and takes no attributes."""

    __slots__ = ("files", "observer")

    def __init__(self, event_manager: BaseEventManager) -> None:
        self.files: dict[str, bytes] = {"a": DATA}
        self.observer = StoreObserver(
            "invoices", backend="sftp", event_manager=event_manager, source=self, misses=(NoSuchFileError,)
        )

    def fetch(self, name: str, error: BaseException | None = None) -> bytes:
        with self.observer.operation("get", name, direction="read") as operation:
            if name not in self.files:
                raise NoSuchFileError(name)
            for start in range(0, len(self.files[name]), 5):
                operation.count(len(self.files[name][start : start + 5]))
                if error is not None:
                    raise error
            return self.files[name]

    def store(self, name: str, data: bytes) -> None:
        with self.observer.operation("set", name, direction="write", steps=len(data)) as operation:
            self.files[name] = data
            operation.count(len(data))
        self.observer.changed("set", name)


@pytest.fixture
def client(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    return Client(manager)


@pytest.fixture
def observer(client: Client) -> StoreObserver:
    return client.observer


def the_end(recorder: EventRecorder) -> StoreProgressEndEvent:
    """Return the end of the one operation, which has one start, and deltas that sum to its bytes."""
    recorder.one(StoreProgressStartEvent)
    end = recorder.one(StoreProgressEndEvent)
    assert sum(event.delta for event in recorder.of(StoreProgressStepEvent)) + end.delta == end.bytes
    for name in ("source", "store", "operation", "direction", "key", "transaction_id", "operation_id"):
        assert len({getattr(event, name) for event in recorder.of(StoreProgressEvent)}) == 1
    return end


class TestOperation:
    def test_success_is_ok_with_its_bytes(self, client: Client, recorder: EventRecorder) -> None:
        assert client.fetch("a") == DATA

        end = the_end(recorder)
        assert (end.outcome, end.bytes, end.key, end.operation) == ("ok", len(DATA), "a", "get")
        assert (end.store, end.direction, end.source) == ("invoices", "read", client)

    def test_missing_key_of_the_client_is_a_miss(self, client: Client, recorder: EventRecorder) -> None:
        with pytest.raises(NoSuchFileError):
            client.fetch("b")

        assert (the_end(recorder).outcome, the_end(recorder).exit_state) == ("miss", "warning")

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (OSError("cable"), "error"),
            (KeyboardInterrupt(), "cancelled"),
            (asyncio.CancelledError(), "cancelled"),
            (GeneratorExit(), "cancelled"),
        ],
        ids=repr,
    )
    def test_exception_in_mid_stream_decides_the_outcome(
        self, error: BaseException, outcome: str, client: Client, recorder: EventRecorder
    ) -> None:
        with pytest.raises(type(error)):
            client.fetch("a", error)

        end = the_end(recorder)
        assert (end.outcome, end.bytes, end.error) == (outcome, 5, error)

    def test_missing_file_of_a_write_is_an_error(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        with pytest.raises(NoSuchFileError), observer.operation("set", "a", direction="write"):
            raise NoSuchFileError

        assert the_end(recorder).outcome == "error"

    def test_predicate_of_misses_decides(self, manager: EventManager, recorder: EventRecorder) -> None:
        observer = StoreObserver("s3", event_manager=manager, misses=lambda error: "NoSuchKey" in str(error))
        with pytest.raises(OSError, match="NoSuchKey"), observer.operation("get", "a"):
            raise OSError("NoSuchKey: a")

        assert the_end(recorder).outcome == "miss"

    def test_miss_without_an_exception_is_said_by_its_exit_state(
        self, observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        with observer.operation("get", "b") as operation:
            operation.end(exit_state="warning")

        assert the_end(recorder).outcome == "miss"

    def test_abandoned_operation_is_cancelled(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        observer.operation("get", "a").start()
        settled()

        assert the_end(recorder).outcome == "cancelled"

    def test_operation_is_the_progress_manager_of_the_specification(
        self, observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        with observer.operation("get", "a") as operation:
            assert isinstance(operation, StoreProgressManager)
            assert type(operation).__name__ == "Operation"

        assert type(operation) is Operation

    def test_counted_items_are_in_the_end(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        with observer.operation("query") as operation:
            operation.items = 3

        assert (the_end(recorder).items, the_end(recorder).key) == (3, None)

    def test_async_block_ends_it(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        async def fetch() -> None:
            async with observer.operation("get", "a") as operation:
                operation.count(1)
                await asyncio.sleep(60)

        async def main() -> None:
            task = asyncio.create_task(fetch())
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("cancelled", 1)

    def test_nobody_listening_costs_no_event(self) -> None:
        client = Client(EventManager())
        client.store("b", b"1")

        assert client.fetch("b") == b"1"
        assert repr(client.observer.operation("get")) == "<SilentOperation>"

    def test_enclosing_operation_is_the_parent_of_other_observers_alone(
        self, observer: StoreObserver, manager: EventManager, recorder: EventRecorder
    ) -> None:
        below = StoreObserver("s3", event_manager=manager)
        with observer.operation("get", "a") as outer, outer.enclosing():
            below.operation("get", "bucket/a").start()
            observer.operation("exists", "a").start()
        with below.operation("get", "bucket/b"):
            pass

        parents = [(event.operation, event.store, event.parent_id) for event in recorder.of(StoreProgressStartEvent)]
        assert parents == [
            ("get", "invoices", None),
            ("get", "s3", outer.operation_id),
            ("exists", "invoices", None),
            ("get", "s3", None),
        ]

    def test_metadata_is_copied_for_its_readers_alone(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        metadata = {"tags": ["new"]}
        with observer.operation("set", "a", metadata=metadata):
            pass
        start, end = recorder.one(StoreProgressStartEvent), the_end(recorder)

        assert "metadata" not in vars(start)
        assert start.metadata == metadata
        assert start.metadata is start.metadata is not metadata
        start.metadata["tags"].append("mine")
        assert end.metadata == metadata == {"tags": ["new"]}

    def test_metrics_know_the_name_and_the_backend(self, manager: EventManager, registry: CollectorRegistry) -> None:
        observer = StoreObserver("invoices", backend="sftp", event_manager=manager)
        with MetricsSubscriber(registry=registry).connect(manager), observer.operation("get", "a", direction="read"):
            pass

        labels = {"store": "invoices", "backend": "sftp"}
        assert registry.get_sample_value("encore_storage_store_info", labels) == 1

    def test_observer_does_not_keep_its_source(self, manager: EventManager) -> None:
        class Source:
            pass

        source = Source()
        observer = StoreObserver("invoices", event_manager=manager, source=source)
        assert observer.source is source
        del source

        assert repr(observer.source) == repr(observer)


READS: dict[str, Callable[[Any], Any]] = {
    "read": lambda file: file.read(),
    "read to the end": lambda file: b"".join(iter(lambda: file.read(4), b"")),
    "readline": lambda file: b"".join(iter(file.readline, b"")),
    "readlines": lambda file: b"".join(file.readlines()),
    "lines": b"".join,
    "read1": lambda file: b"".join(iter(file.read1, b"")),
    "buffered": lambda file: io.BufferedReader(file).read(),
    "text": lambda file: io.TextIOWrapper(file, "ascii").read().encode(),
}


class Pipe(io.BytesIO):
    """A file that cannot seek, and may break."""

    error: BaseException | None = None

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.error is not None:
            raise self.error
        return super().read(size)

    def close(self) -> None:
        super().close()
        if self.error is not None:
            raise self.error


class TestFile:
    @pytest.mark.parametrize("read", READS.values(), ids=READS)
    def test_reading_to_the_end_ends_the_operation(
        self, read: Callable[[Any], Any], observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        stream = observer.reading("a", Pipe(DATA), steps=len(DATA))

        assert read(stream) == DATA
        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", len(DATA))
        stream.close()
        the_end(recorder)

    def test_seekable_file_is_read_until_it_is_closed(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        with observer.reading("a", io.BytesIO(DATA)) as file:
            assert file.read() == DATA
            assert file.seek(0) == 0
            assert (file.read(3), file.tell(), file.seekable()) == (b"one", 3, True)
            assert recorder.of(StoreProgressEndEvent) == []

        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", len(DATA) + 3)

    def test_early_close_is_ok_with_the_bytes_read(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        file = observer.reading("a", Pipe(DATA))
        buffer = bytearray(4)
        assert file.readinto(buffer) == 4
        file.close()

        assert (the_end(recorder).outcome, the_end(recorder).bytes, file.closed) == ("ok", 4, True)

    @pytest.mark.parametrize("use", [lambda file: file.read(), lambda file: file.close()], ids=["read", "close"])
    def test_error_ends_the_operation(
        self, use: Callable[[Any], object], observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        pipe = Pipe(DATA)
        file = observer.reading("a", pipe)
        pipe.error = OSError("cable")
        with pytest.raises(OSError, match="cable"):
            use(file)
        pipe.error = None

        assert (the_end(recorder).outcome, the_end(recorder).error_type) == ("error", "other")

    def test_collected_file_is_cancelled(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        file = observer.reading("a", io.BytesIO(DATA))
        file.read(1)
        del file
        gc.collect()
        settled()

        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("cancelled", 1)

    def test_chunks_are_counted(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        assert list(observer.reading("a", iter([b"one", b"two"]))) == [b"one", b"two"]

        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", 6)

    def test_closed_generator_ends_early(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"one"
            yield b"two"

        with observer.reading("a", chunks()) as stream:
            next(stream)

        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", 3)

    def test_written_bytes_are_counted_until_the_close(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        target = io.BytesIO()
        with observer.writing("a", target) as file:
            assert file.write(b"one") == 3
            file.writelines([b"two", b"three"])
            file.seek(0)
            assert target.getvalue() == b"onetwothree"

        end = the_end(recorder)
        assert (end.outcome, end.bytes, end.operation, end.direction) == ("ok", 11, "set", "write")

    def test_block_that_raises_while_writing_is_an_error(
        self, observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        with contextlib.suppress(OSError), observer.writing("a", io.BytesIO()) as file:
            file.write(b"one")
            raise OSError("source")

        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("error", 3)

    def test_text_is_counted_as_it_is_encoded(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        text = io.TextIOWrapper(io.BytesIO(), "utf-8")
        with observer.writing("a", text) as file:
            file.write("Zürich")

        assert the_end(recorder).bytes == 7

    def test_operation_that_has_started_may_be_given(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        operation = observer.operation("get_range", "a", direction="read")
        operation.start()
        observer.reading("a", Pipe(DATA), operation=operation).read()

        assert the_end(recorder).operation == "get_range"

    @pytest.mark.parametrize("stream", [b"bytes", "text", 1, None])
    def test_what_is_no_stream_is_refused_and_starts_nothing(
        self, stream: object, observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        with pytest.raises(TypeError, match="only a file or an iterable of bytes can be observed, not"):
            observer.reading("a", stream)

        assert recorder.events == []


class AsyncFile:
    """The least that an async file is."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = io.BytesIO(data)
        self.closed = False

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self.data.read(size)

    async def write(self, data: bytes) -> int:
        await asyncio.sleep(0)
        return self.data.write(data)

    async def close(self) -> None:
        self.closed = True


class TestAsyncFile:
    def test_reading_to_the_end_ends_the_operation(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        async def main() -> bytes:
            file = observer.reading("a", AsyncFile(DATA))
            return b"".join([await file.read(8), await file.read(8), await file.read(8)])

        assert asyncio.run(main()) == DATA
        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", len(DATA))

    def test_written_bytes_are_counted_until_the_close(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        async def main() -> None:
            async with observer.writing("a", AsyncFile()) as file:
                assert await file.write(DATA) == len(DATA)

        asyncio.run(main())
        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", len(DATA))

    def test_chunks_are_counted(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        async def main() -> list[bytes]:
            return [chunk async for chunk in observer.reading("a", chunks())]

        assert asyncio.run(main()) == [b"one", b"two"]
        assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", 6)

    def test_cancelled_read_is_cancelled(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        class Stuck(AsyncFile):
            async def read(self, size: int = -1) -> bytes:
                await asyncio.sleep(60)
                return await super().read(size)

        async def main() -> None:
            file = observer.reading("a", Stuck(DATA))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(file.read(), 0.01)

        asyncio.run(main())
        assert the_end(recorder).outcome == "cancelled"


class TestTransaction:
    def test_block_is_committed_with_its_operations_and_changes(self, client: Client, recorder: EventRecorder) -> None:
        with client.observer.transaction("nightly") as transaction:
            client.store("b", b"12")
            assert recorder.of(StoreModificationEvent) == []

        end = recorder.one(StoreTransactionEndEvent)
        assert (end.outcome, end.operations, end.held, end.notes) == ("committed", 1, 1, "nightly")
        assert (end.store, end.source, transaction.outcome) == ("invoices", client, "committed")
        assert {event.transaction_id for event in recorder.of(StoreProgressEvent)} == {transaction.transaction_id}
        assert recorder.one(StoreSetEvent).transaction_id == transaction.transaction_id
        assert recorder.names()[-2:] == ["StoreTransactionEndEvent", "StoreSetEvent"]

    def test_block_that_raises_is_rolled_back_and_its_changes_are_discarded(
        self, client: Client, recorder: EventRecorder
    ) -> None:
        error = OSError("disk")
        with pytest.raises(OSError, match="disk"), client.observer.transaction():
            client.store("b", b"12")
            raise error

        end = recorder.one(StoreTransactionEndEvent)
        assert (end.outcome, end.error, end.held) == ("rolled_back", error, 1)
        assert recorder.of(StoreModificationEvent) == []

    def test_several_may_be_open_at_once(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        first, second = observer.transaction("1"), observer.transaction("2")
        first.start()
        second.start()
        with observer.operation("set", "a", transaction=first):
            pass
        observer.changed("set", "b", transaction=second)
        first.end("rolled_back", OSError("disk"))
        second.end(commit_duration=0.5)
        second.end()

        ends = recorder.of(StoreTransactionEndEvent)
        assert [(end.notes, end.outcome, end.operations) for end in ends] == [
            ("1", "rolled_back", 1),
            ("2", "committed", 0),
        ]
        assert ends[1].commit_duration == 0.5
        assert recorder.one(StoreProgressEndEvent).transaction_id == first.transaction_id
        assert recorder.one(StoreSetEvent).transaction_id == second.transaction_id

    def test_tasks_have_transactions_of_their_own(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        async def work(name: str) -> None:
            async with observer.transaction(name):
                await asyncio.sleep(0)
                async with observer.operation("set", name):
                    await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(*(work(str(number)) for number in range(10)))

        asyncio.run(main())
        notes = {event.transaction_id: event.notes for event in recorder.of(StoreTransactionStartEvent)}
        ends = recorder.of(StoreProgressEndEvent)
        assert len(notes) == len(ends) == 10
        assert all(notes[end.transaction_id or ""] == end.key for end in ends)

    def test_transaction_of_another_observer_is_not_joined(
        self, observer: StoreObserver, manager: EventManager, recorder: EventRecorder
    ) -> None:
        other = StoreObserver("other", event_manager=manager)
        with observer.transaction(), other.operation("get", "a"):
            pass

        assert recorder.one(StoreProgressEndEvent).transaction_id is None

    def test_nested_transactions_are_two(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        with observer.transaction("outer"):
            with observer.transaction("inner") as inner, observer.operation("set", "a"):
                pass
            with observer.operation("set", "b"):
                pass

        assert [end.notes for end in recorder.of(StoreTransactionEndEvent)] == ["inner", "outer"]
        assert [end.operations for end in recorder.of(StoreTransactionEndEvent)] == [1, 1]
        assert inner.operations == 1

    def test_abandoned_transaction_is_rolled_back(self, observer: StoreObserver, recorder: EventRecorder) -> None:
        observer.transaction("lost").start()
        settled()

        assert recorder.one(StoreTransactionEndEvent).outcome == "rolled_back"

    def test_start_happens_once(self, observer: StoreObserver) -> None:
        with observer.transaction("nightly") as transaction, pytest.raises(TransactionError, match="another one"):
            transaction.start()

        assert repr(transaction) == "<ObservedTransaction of 'invoices': 'nightly', committed>"

    def test_failing_listener_of_a_strict_manager_leaves_nothing_open(self) -> None:
        manager = EventManager(strict=True)
        observer = StoreObserver("invoices", event_manager=manager)
        recorder = EventRecorder(manager)
        manager.connect(StoreTransactionStartEvent, lambda event: 1 / 0)
        with pytest.raises(ExceptionGroup), observer.transaction():
            pass
        with observer.operation("get", "a"):
            pass

        assert recorder.one(StoreTransactionEndEvent).outcome == "rolled_back"
        assert recorder.one(StoreProgressEndEvent).transaction_id is None

    def test_child_that_was_forked_inside_is_not_part_of_it(self, observer: StoreObserver) -> None:
        with observer.transaction("nightly") as transaction:
            context = multiprocessing.get_context("fork")
            receiver, sender = context.Pipe()
            child = context.Process(target=_use_inherited, args=(observer, transaction, sender))
            child.start()
            assert receiver.recv() == ("ForkedStoreError", False, None)
            child.join()

        assert transaction.outcome == "committed"


def _use_inherited(observer: StoreObserver, transaction: ObservedTransaction, sender: Any) -> None:
    """Use a transaction of the parent in the child; send what came of it."""
    recorder = EventRecorder(observer.event_manager)
    with observer.operation("get", "a"):
        pass
    transaction_id = recorder.one(StoreProgressEndEvent).transaction_id
    try:
        transaction.end()
    except ForkedStoreError as error:
        sender.send((type(error).__name__, transaction.is_open, transaction_id))


class TestChanges:
    def test_change_carries_its_time_and_its_own_metadata(
        self, observer: StoreObserver, recorder: EventRecorder
    ) -> None:
        observer.changed("delete", "a", {"v": 1})

        event = recorder.one(StoreDeleteEvent)
        assert (event.key, event.metadata, event.store, event.action) == ("a", {"v": 1}, "invoices", "delete")
        assert event.timestamp is not None

    def test_unknown_action_is_refused(self, observer: StoreObserver) -> None:
        with pytest.raises(ValueError, match="action must be one of 'set', 'update', 'delete', not 'put'"):
            observer.changed("put", "a")  # type: ignore[arg-type]  # that is the mistake
