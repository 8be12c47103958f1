"""The output of subscribers for a replay equals that for the original events."""

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

RELATIVE_TO_NOW = {
    "encore_storage_last_success_timestamp_seconds",
    "encore_storage_operation_oldest_in_progress_seconds",
}


class Output(NamedTuple):
    """The output of all subscribers."""

    metrics: dict[tuple[str, Any], float]
    lines: list[dict[str, Any]]
    summary: list[Any]


class Observer:
    """Metrics, logs and summary of an event manager."""

    def __init__(self, *, keys: bool = True) -> None:
        self.manager = EventManager()
        self._registry = CollectorRegistry()
        self._metrics = MetricsSubscriber(registry=self._registry).connect(self.manager)
        self._summary = SummarySubscriber().connect(self.manager)
        self._written = io.StringIO()
        with open_logger(self._written, level="debug") as logger:
            self._logs = LogSubscriber(logger=logger, level="debug", keys=keys).connect(self.manager)

    def output(self) -> Output:
        families = [family for family in self._registry.collect() if family.name not in RELATIVE_TO_NOW]
        samples = [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]
        metrics = {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}
        lines = [json.loads(line) for line in self._written.getvalue().splitlines()]
        for line in lines:
            line.pop("timestamp")
            if "exception" in line:  # only the last line of a traceback is recorded
                line["exception"] = line["exception"].rpartition("\n")[2].strip().rpartition(".errors.")[2]
        rows = [(row.store, row.operation, row.count, row.bytes, row.outcomes) for row in self._summary.operations]
        return Output(metrics, lines, rows)


@pytest.fixture(params=[True, False], ids=["with keys", "without keys"])
def outputs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Output, Output]]:
    """The outputs for a workload and for the replay of its recording."""
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    original, again = Observer(keys=request.param), Observer(keys=request.param)
    with Recorder(tmp_path / "events.jsonl").connect(original.manager):
        workload.run(original.manager, tmp_path)
    replay(tmp_path / "events.jsonl", again.manager, math.inf)
    yield original.output(), again.output()
    original.manager.close()
    again.manager.close()


def test_replay_has_the_same_metrics_logs_and_summary(outputs: tuple[Output, Output]) -> None:
    original, again = outputs

    assert again.metrics == original.metrics
    assert again.lines == original.lines
    assert again.summary == original.summary
    assert len(original.metrics) > 500
    assert len(original.lines) > 50
    assert {name for (name, _), value in original.metrics.items() if value} >= {
        "encore_events_listener_errors_total",
        "encore_events_dropped_total",
        "encore_storage_operation_errors_total",
        "encore_storage_operation_retries_total",
        "encore_storage_operation_items_total",
        "encore_storage_fetched_bytes_total",
        "encore_storage_transactions_total",
        "encore_storage_store_info",
    }
