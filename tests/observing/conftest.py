"""A foreign client, and its observer."""

from __future__ import annotations

import pytest

from encore_events import EventManager
from encore_storage.observing import StoreObserver, StoreProgressManager
from tests.observing.support import Client


@pytest.fixture
def client(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    return Client(manager)


@pytest.fixture
def observer(client: Client) -> StoreObserver:
    return client.observer
