"""StoreObserver observes the operations and key changes of a foreign client."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreDeleteEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
)
from encore_storage.observing import Operation, StoreObserver, StoreProgressManager
from encore_storage.subscribers import MetricsSubscriber
from tests.observing.support import DATA, Client, NoSuchFileError, ended
from tests.storage.support import settled


def test_success_is_ok(client: Client, recorder: EventRecorder) -> None:
    assert client.fetch("a") == DATA

    end = ended(recorder)
    assert (end.outcome, end.bytes, end.key, end.operation) == ("ok", len(DATA), "a", "get")
    assert (end.store, end.direction, end.source) == ("invoices", "read", client)


def test_missing_key_of_the_client_is_a_miss(client: Client, recorder: EventRecorder) -> None:
    with pytest.raises(NoSuchFileError):
        client.fetch("b")

    assert (ended(recorder).outcome, ended(recorder).exit_state) == ("miss", "warning")


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
    error: BaseException, outcome: str, client: Client, recorder: EventRecorder
) -> None:
    with pytest.raises(type(error)):
        client.fetch("a", error)

    end = ended(recorder)
    assert (end.outcome, end.bytes, end.error) == (outcome, 5, error)


def test_missing_key_of_a_write_is_an_error(observer: StoreObserver, recorder: EventRecorder) -> None:
    with pytest.raises(NoSuchFileError), observer.operation("set", "a", direction="write"):
        raise NoSuchFileError

    assert ended(recorder).outcome == "error"


def test_predicate_of_misses_decides(manager: EventManager, recorder: EventRecorder) -> None:
    observer = StoreObserver("s3", event_manager=manager, misses=lambda error: "NoSuchKey" in str(error))
    with pytest.raises(OSError, match="NoSuchKey"), observer.operation("get", "a"):
        raise OSError("NoSuchKey: a")

    assert ended(recorder).outcome == "miss"


def test_exit_state_warning_is_a_miss(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.operation("get", "b") as operation:
        operation.end(exit_state="warning")

    assert ended(recorder).outcome == "miss"


def test_abandoned_operation_is_cancelled(observer: StoreObserver, recorder: EventRecorder) -> None:
    observer.operation("get", "a").start()
    settled()

    assert ended(recorder).outcome == "cancelled"


def test_operation_is_a_store_progress_manager(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.operation("get", "a") as operation:
        assert isinstance(operation, StoreProgressManager)
        assert type(operation).__name__ == "Operation"

    assert type(operation) is Operation


def test_measures_are_in_the_end_event(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.operation("query") as operation:
        operation.items = 3
        operation.attempts += 1
        operation.first_byte, operation.fetched = 0.5, 4096

    end = ended(recorder)
    assert (end.items, end.attempts, end.first_byte, end.fetched, end.key) == (3, 2, 0.5, 4096, None)


def test_end_event_without_measures_has_the_defaults(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.operation("query") as operation:
        assert (operation.items, operation.attempts, operation.first_byte, operation.fetched) == (None, 1, None, None)

    end = ended(recorder)
    assert (end.items, end.attempts, end.first_byte, end.fetched) == (None, 1, None, None)
    assert not {"items", "attempts", "first_byte", "fetched"} & vars(end).keys()


def test_silent_operation_takes_measures() -> None:
    with StoreObserver("invoices", event_manager=EventManager()).operation("get", "a") as operation:
        operation.attempts += 1
        operation.items = 2

    assert (operation.attempts, operation.items) == (2, 2)


def test_async_block_ends_the_operation(observer: StoreObserver, recorder: EventRecorder) -> None:
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
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("cancelled", 1)


def test_operation_without_listeners_is_silent() -> None:
    client = Client(EventManager())
    client.store("b", b"1")

    assert client.fetch("b") == b"1"
    assert repr(client.observer.operation("get")) == "<SilentOperation>"


def test_enclosing_operation_is_the_parent_for_other_observers_only(
    observer: StoreObserver, manager: EventManager, recorder: EventRecorder
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


def test_metadata_is_copied_when_it_is_read(observer: StoreObserver, recorder: EventRecorder) -> None:
    metadata = {"tags": ["new"]}
    with observer.operation("set", "a", metadata=metadata):
        pass
    start, end = recorder.one(StoreProgressStartEvent), ended(recorder)

    assert "metadata" not in vars(start)
    assert start.metadata == metadata
    assert start.metadata is start.metadata is not metadata
    start.metadata["tags"].append("mine")
    assert end.metadata == metadata == {"tags": ["new"]}


def test_metrics_have_the_name_and_the_backend(manager: EventManager, registry: CollectorRegistry) -> None:
    observer = StoreObserver("invoices", backend="sftp", event_manager=manager)
    with MetricsSubscriber(registry=registry).connect(manager), observer.operation("get", "a", direction="read"):
        pass

    labels = {"store": "invoices", "backend": "sftp"}
    assert registry.get_sample_value("encore_storage_store_info", labels) == 1


def test_observer_does_not_keep_its_source_alive(manager: EventManager) -> None:
    class Source:
        pass

    source = Source()
    observer = StoreObserver("invoices", event_manager=manager, source=source)
    assert observer.source is source
    del source

    assert repr(observer.source) == repr(observer)


def test_change_has_its_time_and_metadata(observer: StoreObserver, recorder: EventRecorder) -> None:
    observer.changed("delete", "a", {"v": 1})

    event = recorder.one(StoreDeleteEvent)
    assert (event.key, event.metadata, event.store, event.action) == ("a", {"v": 1}, "invoices", "delete")
    assert event.timestamp is not None


def test_unknown_action_is_refused(observer: StoreObserver) -> None:
    with pytest.raises(ValueError, match="action must be one of 'set', 'update', 'delete', not 'put'"):
        observer.changed("put", "a")  # type: ignore[arg-type]  # that is the mistake


def test_predicate_of_misses_that_raises_does_not_match(
    manager: EventManager, recorder: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    observer = StoreObserver(
        "s3", event_manager=manager, misses=lambda error: error.response == 404
    )  # an OSError has none
    error = OSError("cable")
    with pytest.raises(OSError, match="cable"), observer.operation("get", "a"):
        raise error

    assert (ended(recorder).outcome, ended(recorder).error) == ("error", error)
    assert "failed for OSError" in caplog.text


def test_parent_is_the_nearest_operation_of_another_observer(
    observer: StoreObserver, manager: EventManager, recorder: EventRecorder
) -> None:
    below = StoreObserver("s3", event_manager=manager)
    outer, inner = observer.operation("get", "a"), below.operation("get", "bucket/a")
    with outer, outer.enclosing(), inner, inner.enclosing(), below.operation("exists", "bucket/a"):
        pass

    parents = {event.operation_id: event.parent_id for event in recorder.of(StoreProgressStartEvent)}
    assert list(parents.values()) == [None, None, outer.operation_id]


def test_silent_operation_is_no_parent(manager: EventManager, recorder: EventRecorder) -> None:
    silent, below = StoreObserver("invoices", event_manager=EventManager()), StoreObserver("s3", event_manager=manager)
    with silent.operation("get", "a") as outer, outer.enclosing(), below.operation("get", "bucket/a"):
        assert outer.operation_id is None

    assert ended(recorder).parent_id is None


@pytest.mark.parametrize("misses", [(3,), [FileNotFoundError], None, "x", object, (FileNotFoundError, "x")], ids=repr)
def test_misses_of_another_type_are_refused(misses: Any, manager: EventManager) -> None:
    with pytest.raises(TypeError, match="misses must be exception classes or a predicate"):
        StoreObserver("invoices", event_manager=manager, misses=misses)


def test_single_class_of_misses_is_a_class(manager: EventManager, recorder: EventRecorder) -> None:
    observer = StoreObserver("invoices", event_manager=manager, misses=FileNotFoundError)
    for error in (FileNotFoundError("a"), ZeroDivisionError("b")):
        with pytest.raises(type(error)), observer.operation("get", "a"):
            raise error

    assert [end.outcome for end in recorder.of(StoreProgressEndEvent)] == ["miss", "error"]


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str, list[Any], dict[str, Any]]] = {
    "name must be a str, not ['a']": ({"name": ["a"]}, "operation", ["get"], {}),
    "backend must be a str, not None": ({"backend": None}, "operation", ["get"], {}),
    "operation must be a str, not 3": ({}, "operation", [3], {}),
    "key must be a str, not b'k'": ({}, "operation", ["get", b"k"], {}),
    "key must be a str, not 4": ({}, "changed", ["set", 4], {}),
    "steps must be an int": ({}, "operation", ["get"], {"steps": "3"}),
    "transaction must be a transaction of an observer": ({}, "operation", ["get"], {"transaction": "t"}),
    "direction must be 'read', 'write' or None": ({}, "operation", ["get"], {"direction": "READ"}),
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_argument_is_refused_where_it_is_given(message: str, manager: EventManager) -> None:
    of_observer, method, arguments, options = BAD_ARGUMENTS[message]
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        getattr(StoreObserver(**{"name": "a", "event_manager": manager, **of_observer}), method)(*arguments, **options)
