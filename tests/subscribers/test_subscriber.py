"""Connecting, keeping and disconnecting any subscriber."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable

import pytest
import structlog
from prometheus_client import CollectorRegistry
from rich.console import Console

from encore_events import EventManager
from encore_events.errors import EncoreError, ManagerClosedError
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber, ProgressBars
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.errors import AlreadyConnectedError

MAKERS: dict[str, Callable[[], Subscriber]] = {
    "logs": lambda: LogSubscriber(logger=structlog.wrap_logger(structlog.WriteLogger(io.StringIO())), level="debug"),
    "metrics": lambda: MetricsSubscriber(registry=CollectorRegistry()),
    "bars": lambda: ProgressBars(
        console=Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm-256color"})
    ),
}
NO_LISTENERS = "<EventManager: 0 listeners>"


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[], Subscriber]:
    return MAKERS[request.param]


def test_connect_returns_the_subscriber_and_disconnect_ends_it(
    manager: EventManager, make: Callable[[], Subscriber]
) -> None:
    subscriber = make()

    assert subscriber.connect(manager) is subscriber
    assert repr(manager) != NO_LISTENERS

    subscriber.disconnect()
    assert repr(manager) == NO_LISTENERS


def test_subscriber_disconnects_at_the_end_of_its_block(manager: EventManager, make: Callable[[], Subscriber]) -> None:
    with make().connect(manager):
        assert repr(manager) != NO_LISTENERS

    assert repr(manager) == NO_LISTENERS


def test_subscriber_listens_even_if_nobody_keeps_it(manager: EventManager, make: Callable[[], Subscriber]) -> None:
    subscriber = make().connect(manager)
    connection = subscriber._connection
    connected = repr(manager)

    del subscriber
    gc.collect()

    assert repr(manager) == connected
    connection.close()


def test_connect_and_disconnect_are_idempotent(manager: EventManager, make: Callable[[], Subscriber]) -> None:
    subscriber = make().connect(manager)
    connected = repr(manager)

    subscriber.connect(manager)
    assert repr(manager) == connected

    subscriber.disconnect()
    subscriber.disconnect()
    assert repr(manager) == NO_LISTENERS


def test_second_event_manager_raises_already_connected_error(
    manager: EventManager, make: Callable[[], Subscriber]
) -> None:
    other = EventManager()
    with make().connect(manager) as subscriber:
        with pytest.raises(AlreadyConnectedError, match="disconnect it first, or make another one") as caught:
            subscriber.connect(other)
        assert isinstance(caught.value, (EncoreError, RuntimeError))
        assert repr(other) == NO_LISTENERS

    with subscriber.connect(other):
        assert repr(other) != NO_LISTENERS


def test_closed_event_manager_is_refused(make: Callable[[], Subscriber]) -> None:
    closed = EventManager()
    closed.close()
    subscriber = make()

    with pytest.raises(ManagerClosedError):
        subscriber.connect(closed)

    assert "not connected" in repr(subscriber)


def test_repr_has_the_event_manager(manager: EventManager) -> None:
    logs = MAKERS["logs"]()
    assert repr(logs) == "<LogSubscriber: not connected>"

    with logs.connect(manager):
        assert repr(logs) == "<LogSubscriber: listens to <EventManager: 5 listeners>>"
