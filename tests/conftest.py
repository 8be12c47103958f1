"""What all tests share: an event manager for each, and what it told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder


@pytest.fixture
def manager() -> Iterator[EventManager]:
    manager = EventManager()
    yield manager
    manager.close()


@pytest.fixture
def recorder(manager: EventManager) -> EventRecorder:
    return EventRecorder(manager)
