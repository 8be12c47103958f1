"""What subscribers make of a recording is what they made of what was recorded."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage.recording import Recorder, replay
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber
from encore_storage.subscribers.logs import open_logger
from encore_storage.subscribers.summary import SummarySubscriber
from encore_storage.utils import StoreProgressManager
from tests.codec import workload

OF_NOW = {
    "encore_storage_last_success_timestamp_seconds",
    "encore_storage_operation_oldest_in_progress_seconds",
}


class Told(NamedTuple):
    """What subscribers have told."""

    metrics: dict[tuple[str, Any], float]
    lines: list[dict[str, Any]]
    summary: list[Any]


class Observer:
    """All subscribers that there are, on an event manager of their own."""

    def __init__(self, *, keys: bool = True) -> None:
        self.manager = EventManager()
        self._registry = CollectorRegistry()
        self._metrics = MetricsSubscriber(registry=self._registry).connect(self.manager)
        self._summary = SummarySubscriber().connect(self.manager)
        self._written = io.StringIO()
        with open_logger(self._written, level="debug") as logger:
            self._logs = LogSubscriber(logger=logger, keys=keys).connect(self.manager)

    def told(self) -> Told:
        families = [family for family in self._registry.collect() if family.name not in OF_NOW]
        samples = [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]
        metrics = {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}
        lines = [json.loads(line) for line in self._written.getvalue().splitlines()]
        for line in lines:
            line.pop("timestamp")
            if "exception" in line:  # a traceback is not recorded, only what it ends with
                line["exception"] = line["exception"].rpartition("\n")[2].rpartition(".errors.")[2]
        rows = [(row.store, row.operation, row.count, row.bytes, row.outcomes) for row in self._summary.operations]
        return Told(metrics, lines, rows)


@pytest.fixture(params=[True, False], ids=["with keys", "without keys"])
def both(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Told, Told]]:
    """What is told of a workload, and of its recording."""
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    original, again = Observer(keys=request.param), Observer(keys=request.param)
    with Recorder(tmp_path / "events.jsonl").connect(original.manager):
        workload.run(original.manager, tmp_path)
    replay(tmp_path / "events.jsonl", again.manager, math.inf)
    yield original.told(), again.told()
    original.manager.close()
    again.manager.close()


def test_metrics_logs_and_summary_are_the_same(both: tuple[Told, Told]) -> None:
    original, again = both

    assert again.metrics == original.metrics
    assert again.lines == original.lines
    assert again.summary == original.summary
    assert len(original.metrics) > 500
    assert len(original.lines) > 50
    assert {name for (name, _), value in original.metrics.items() if value} >= {
        "encore_events_listener_errors_total",
        "encore_events_dropped_total",
        "encore_storage_operation_errors_total",
        "encore_storage_transactions_total",
        "encore_storage_store_info",
    }
