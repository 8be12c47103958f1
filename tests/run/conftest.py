"""Fixtures of the tests of runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.run.counting import RunSummary
from tests.clients.botocore_servers import moto_url
from tests.subscribers.support import FakeClock

__all__ = ["moto_url"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def summary(manager: EventManager, tmp_path: Path, clock: FakeClock) -> Iterator[RunSummary]:
    """A summary that counts the events of `manager` in `tmp_path`."""
    with RunSummary(tmp_path, clock=clock).connect(manager) as summary:
        yield summary
