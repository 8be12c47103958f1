"""Calls inside an operation of a client are part of it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.clients.nesting import add_retries, inside, operation_above, operation_on
from encore_storage.events import StoreProgressEndEvent
from encore_storage.observing import StoreObserver


class Client:
    """An object to observe."""


@pytest.fixture
def observer(manager: EventManager, recorder: EventRecorder) -> StoreObserver:
    return StoreObserver("files", event_manager=manager)


def test_nested_calls_are_inside_the_operation_of_their_target(observer: StoreObserver) -> None:
    target, other = Client(), Client()
    with observer.operation("get") as outer, inside(outer, target):
        with observer.operation("get") as inner, inside(inner, other):
            assert (operation_on(target), operation_on(other)) == (outer, inner)
            assert operation_above() is inner
        assert operation_on(other) is None
        assert operation_above() is outer
    assert operation_on(target) is operation_above() is None


def test_retries_of_a_request_are_attempts_of_the_operation_above(
    observer: StoreObserver, recorder: EventRecorder
) -> None:
    with observer.operation("get") as operation, inside(operation, Client()):
        above = operation_above()
        assert above is not None
        add_retries(above, 2)
        add_retries(above, 1)

    assert recorder.one(StoreProgressEndEvent).attempts == 4


def test_operations_of_other_stores_inside_have_a_parent(
    observer: StoreObserver, recorder: EventRecorder, manager: EventManager
) -> None:
    lower = StoreObserver("disk", event_manager=manager)
    with observer.operation("get") as operation, inside(operation, Client()), lower.operation("get"):
        pass

    assert [(end.store, end.parent_id) for end in recorder.of(StoreProgressEndEvent)] == [
        ("disk", operation.operation_id),
        ("files", None),
    ]


def test_task_that_outlives_the_operation_is_not_inside(observer: StoreObserver) -> None:
    async def scenario() -> None:
        target = Client()
        ended = asyncio.Event()

        async def work() -> None:
            assert operation_on(target) is not None
            await ended.wait()
            assert operation_on(target) is operation_above() is None

        with observer.operation("get") as operation, inside(operation, target):
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
        ended.set()
        await task

    asyncio.run(scenario())


def test_nesting_does_not_keep_the_target(observer: StoreObserver) -> None:
    target = Client()
    reference = weakref.ref(target)
    operation = observer.operation("get")
    with operation, inside(operation, target):
        pass
    del target
    gc.collect()

    assert reference() is None
