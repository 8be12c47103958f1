"""Fixtures of the subscribers' tests: clocks and metrics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage.subscribers import MetricsSubscriber
from tests.subscribers.support import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def wall_clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def metrics(
    manager: EventManager, registry: CollectorRegistry, clock: FakeClock, wall_clock: FakeClock
) -> Iterator[MetricsSubscriber]:
    """A MetricsSubscriber of `manager` and `registry`, with fake clocks."""
    with MetricsSubscriber(registry=registry, clock=clock, wall_clock=wall_clock).connect(manager) as metrics:
        yield metrics
