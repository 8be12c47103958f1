"""Shared fixtures: an event manager, a store that emits on it, and a real server for its page."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore, Monitor, monitor
from encore_storage.observing import StoreProgressManager
from encore_storage.server import EventFeed


def pytest_configure() -> None:
    """Have the programs of tests interrupted by SIGINT, even if the tests run in the background of a script."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exempt modules and collected tests from garbage collections: they make each of them slow, and all live on."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def manager() -> Iterator[EventManager]:
    manager = EventManager()
    yield manager
    manager.close()


@pytest.fixture
def recorder(manager: EventManager) -> EventRecorder:
    return EventRecorder(manager)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def store(manager: EventManager) -> DictMemoryStore:
    return DictMemoryStore(name="archive", event_manager=manager)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emit a step event for each chunk."""
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)


@pytest.fixture
def feed(manager: EventManager) -> Iterator[EventFeed]:
    with EventFeed().connect(manager) as feed:
        yield feed


@pytest.fixture
def monitored(manager: EventManager, registry: CollectorRegistry) -> Iterator[Monitor]:
    """Yield a monitor that serves the page on a free port."""
    with monitor(manager, logs=False, registry=registry, port=0) as monitored:
        yield monitored


@pytest.fixture
def page(monitored: Monitor) -> str:
    """Return the URL of the page."""
    assert monitored.page is not None
    return monitored.page
