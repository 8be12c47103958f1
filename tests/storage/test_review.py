"""What reviewers found when they tried to falsify the design, each kept from coming back."""

from __future__ import annotations

import array
import asyncio
import gc
import io
import threading
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import monitor
from encore_storage.errors import InvalidKeyTypeError, StoreConnectionError, TransactionTimeoutError
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
)
from encore_storage.metadata import Metadata
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.transactions.writing import Change
from encore_storage.utils import DummyTransactionContext, SimpleTransactionContext, StoreProgressManager
from tests.storage.support import RecordingStore


def wait_for(recorder: EventRecorder, count: int) -> None:
    """What is told from another thread comes soon, or the test fails."""
    arrived = threading.Event()
    for _ in range(1000):
        if len(recorder.of(StoreProgressEndEvent)) >= count:
            return
        arrived.wait(0.01)
    raise AssertionError(f"no end was told: {recorder.events}")


@pytest.mark.parametrize("kind", ["buffered", "query"])
def test_what_is_collected_in_a_cycle_is_cancelled_once_and_from_another_thread(
    kind: str, manager: EventManager, recorder: EventRecorder
) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("a", b"1" * 100)
    recorder.clear()
    threads: list[int] = []
    manager.connect(StoreProgressEndEvent, lambda event: threads.append(threading.get_ident()))

    def reading() -> Any:
        if kind == "buffered":
            return io.BufferedReader(store.get_data("a"))
        return store.query_keys()

    garbage: list[Any] = [reading()]
    garbage.append(garbage)
    del garbage
    gc.collect()
    wait_for(recorder, 1)

    assert recorder.one(StoreProgressEndEvent).outcome == "cancelled"
    assert threads != [threading.get_ident()]


def test_a_store_in_the_style_of_the_specification_is_told_by_its_name(manager: EventManager) -> None:
    recorder = EventRecorder(manager)
    store = RecordingStore(event_manager=manager)
    with SimpleTransactionContext(store) as transaction:
        with StoreProgressManager(manager, store, key="a") as progress:
            progress(step=3)
        manager.emit(StoreSetEvent(store, key="a"))

    start, end = recorder.one(StoreProgressStartEvent), recorder.one(StoreProgressEndEvent)
    assert start.store == end.store == recorder.one(StoreSetEvent).store == store.name
    assert start.transaction_id == end.transaction_id == transaction.transaction_id
    assert recorder.one(StoreTransactionEndEvent).operations == 1


def test_a_missing_key_of_such_a_store_is_a_miss(manager: EventManager, recorder: EventRecorder) -> None:
    with pytest.raises(KeyError), StoreProgressManager(manager, key="a"):
        raise KeyError("a")
    with pytest.raises(KeyError), StoreProgressManager(manager, key="a"):
        raise KeyError("b")
    with pytest.raises(KeyError), StoreProgressManager(manager):
        raise KeyError("a")

    assert [end.outcome for end in recorder.of(StoreProgressEndEvent)] == ["miss", "error", "error"]


def test_all_events_of_an_operation_say_when_it_started(manager: EventManager, recorder: EventRecorder) -> None:
    with StoreProgressManager(manager) as progress:
        progress.min_interval = 0  # type: ignore[misc]  # of this one alone
        progress(step=1)
        progress(step=2)

    times = {event.timestamp for event in recorder.events}  # type: ignore[attr-defined]  # progress events have it
    assert len(times) == 1


def test_no_transaction_begins_with_a_store_that_is_disconnected(store: AbstractStore) -> None:
    store.disconnect()

    with pytest.raises(StoreConnectionError):
        store.transaction("x")
    with pytest.raises(StoreConnectionError):
        store.multiset([], [])


@pytest.mark.parametrize("value", [None, 3, "text"])
def test_bytes_that_are_none_are_told_as_an_error(value: Any, store: AbstractStore, recorder: EventRecorder) -> None:
    with pytest.raises(TypeError):
        store.from_bytes("a", value)

    assert recorder.one(StoreProgressEndEvent).error_type == "invalid"


def test_the_size_of_a_buffer_is_in_bytes(store: AbstractStore, recorder: EventRecorder) -> None:
    store.from_bytes("a", array.array("i", [1, 2, 3]))  # type: ignore[arg-type]  # bytes-like will do

    end = recorder.one(StoreProgressEndEvent)
    assert end.steps == end.bytes == len(store.to_bytes("a"))


def test_steps_go_on_where_more_comes_than_was_expected(manager: EventManager, recorder: EventRecorder) -> None:
    with StoreProgressManager(manager, steps=4) as progress:
        progress.min_interval = 0  # type: ignore[misc]  # of this one alone
        progress._due = 0
        for total in (1, 4, 8, 20):
            progress(step=total)

    assert [event.step for event in recorder.of(StoreProgressStepEvent)] == [1, 8, 20]


def test_a_stream_takes_the_keyword_of_the_specification(store: AbstractStore) -> None:
    store.from_bytes("a", b"12345")

    with store.get_data("a") as data:
        assert data.read(buffer_size=3) == b"123"


def test_a_timeout_that_is_set_later_counts(manager: EventManager) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("a", b"1")
    store.timeout = 0.01
    errors: list[BaseException] = []

    def write() -> None:
        try:
            store.from_bytes("a", b"2")
        except TransactionTimeoutError as error:
            errors.append(error)

    with store.transaction():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(10)

    assert len(errors) == 1


def test_a_dummy_transaction_can_be_derived_from(manager: EventManager) -> None:
    class Mine(DummyTransactionContext):
        pass

    store = RecordingStore(event_manager=manager)
    plain = DummyTransactionContext(store)

    assert isinstance(Mine(store), Mine)
    assert Mine(store) is Mine(store)
    assert DummyTransactionContext(store) is plain


def test_a_key_that_is_no_str_is_a_type_error_too(store: AbstractStore) -> None:
    with pytest.raises(InvalidKeyTypeError, match="of type int, not a str") as caught:
        store.get(1)  # type: ignore[arg-type]  # that is what is tested

    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_a_number_that_python_does_not_write_is_no_metadata(store: AbstractStore) -> None:
    store.set_metadata("a", {"number": 2**70})
    with pytest.raises(TypeError, match="is a number of 20001 bits"):
        store.set_metadata("a", {"number": 2**20000})

    assert store.get_metadata("a") == {"number": 2**70}


def test_metadata_is_of_plain_types(manager: EventManager) -> None:
    class Text(str):
        __slots__ = ()

    store = DictMemoryStore(event_manager=manager)
    store.set_metadata("a", {"text": Text("plain")})

    assert type(store.get_metadata("a")["text"]) is str


def test_an_item_of_any_name_can_be_asked_for(store: AbstractStore) -> None:
    store.set_metadata("a", {"self": 1})

    assert list(store.query_keys(self=1)) == ["a"]
    assert list(store.query(self=1)) == [("a", {"self": 1})]


def test_one_name_is_not_several(store: AbstractStore) -> None:
    store.set_metadata("a", {"author": "Ada"})

    with pytest.raises(TypeError, match="put it into a list"):
        store.query("author")
    with pytest.raises(TypeError, match="put it into a list"):
        store.get_metadata("a", "author")


def test_a_store_needs_no_backend(manager: EventManager) -> None:
    class Nothing(AbstractStore):
        def _lookup(self, key: str) -> Any:
            raise NotImplementedError

        def _open(self, key: str, entry: Any, start: int, end: int) -> Any:
            raise NotImplementedError

        def _put(self, key: str, chunks: Any, metadata: Metadata | None) -> Change:
            raise NotImplementedError

        def _remove(self, key: str) -> Metadata:
            raise NotImplementedError

        def _keys(self) -> Any:
            raise NotImplementedError

    assert Nothing(event_manager=manager).name == "store"


@pytest.mark.parametrize("given", [9464, "manager", object()])
def test_what_is_no_event_manager_is_refused_where_it_is_given(given: Any) -> None:
    with pytest.raises(TypeError, match="an event manager was expected"):
        monitor(given)
    with pytest.raises(TypeError, match="an event manager was expected"):
        DictMemoryStore(event_manager=given)


def test_a_port_is_a_number(manager: EventManager) -> None:
    with pytest.raises(TypeError, match="port must be an int, not '9464'"):
        monitor(manager, port="9464")  # type: ignore[arg-type]  # that is what is tested


def test_no_error_shows_a_value(store: AbstractStore) -> None:
    secret = b"s3cret" * 1000
    for call in (store.set_data, store.set):
        with pytest.raises(TypeError) as caught:
            call("a", secret)  # type: ignore[arg-type]  # that is what is tested
        assert "s3cret" not in str(caught.value)


def test_a_cancelled_task_does_not_keep_the_store(manager: EventManager) -> None:
    store = DictMemoryStore(event_manager=manager)

    async def work() -> None:
        with store.transaction():
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with store.transaction():
        store.from_bytes("a", b"1")
    assert store.exists("a")


def test_a_pair_without_metadata_is_refused(store: AbstractStore, recorder: EventRecorder) -> None:
    with pytest.raises(TypeError, match="metadata is a NoneType, not a dict"):
        store.set("a", (io.BytesIO(b"1"), None))  # type: ignore[arg-type]  # that is what is tested

    assert recorder.one(StoreProgressEndEvent).outcome == "error"
    assert not store.exists("a")
