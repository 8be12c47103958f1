"""A store, and a real server that shows what it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, Monitor, monitor
from encore_storage.server import EventFeed


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def monitored(manager: EventManager, registry: CollectorRegistry) -> Iterator[Monitor]:
    with monitor(manager, logs=False, registry=registry, port=0) as monitored:
        yield monitored


@pytest.fixture
def page(monitored: Monitor) -> str:
    assert monitored.page is not None
    return monitored.page


@pytest.fixture
def store(manager: EventManager) -> DictMemoryStore:
    return DictMemoryStore(name="archive", event_manager=manager)


@pytest.fixture
def feed(manager: EventManager) -> Iterator[EventFeed]:
    with EventFeed().connect(manager) as feed:
        yield feed
