"""Fixtures of the transaction tests."""

from __future__ import annotations

import pytest

from encore_events import EventManager
from tests.storage.support import RecordingStore, Transactional
from tests.storage.transactions.support import Fail


@pytest.fixture
def store(transactional: Transactional) -> Transactional:
    """Return each kind of transactional store in turn."""
    return transactional


@pytest.fixture
def recording(manager: EventManager) -> RecordingStore:
    """Return a store that records the transaction calls."""
    return RecordingStore(event_manager=manager)


@pytest.fixture
def fail(store: Transactional, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Return a function that makes the next begin, commit or rollback raise, instead of its work or after it."""

    def fail(call: str, error: BaseException, *, after: bool = False) -> None:
        name = f"_{call}_transaction"
        work = getattr(store, name)

        def failing() -> None:
            monkeypatch.setattr(store, name, work)
            if after:
                work()
            raise error

        monkeypatch.setattr(store, name, failing)

    return fail
