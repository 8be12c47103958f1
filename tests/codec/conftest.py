"""Codecs, encoders, and the events of a real workload."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.codec import EventCodec
from encore_storage.codec import text as codec_text
from encore_storage.utils import StoreProgressManager
from tests.codec import workload


@pytest.fixture
def codec() -> EventCodec:
    return EventCodec()


@pytest.fixture
def events(
    manager: EventManager, recorder: EventRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[BaseEvent]:
    """Return the events of a workload with every event type."""
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    workload.run(manager, tmp_path)
    return recorder.events


@pytest.fixture(params=["orjson", "json"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with orjson, and as if it were not installed."""
    if request.param == "json":
        monkeypatch.setattr(codec_text, "orjson", None)
    return str(request.param)
