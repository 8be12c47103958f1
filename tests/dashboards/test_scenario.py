"""The scenario produces everything that dashboards and rules can show."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from encore_storage.subscribers.catalogue import (
    ACTIONS,
    CATALOGUE,
    DIRECTIONS,
    OPERATIONS,
    OUTCOMES,
    STORE_INFO,
    TRANSACTION_OUTCOMES,
    Metric,
)
from tests.dashboards import scenario_process
from tests.dashboards.conftest import Live
from tests.dashboards.scenario_process import Scenario, ScenarioError
from tests.dashboards.servers import Sample, binary, fetch, poll

KINDS = ("invalid", "other", "permission_denied", "quota_exceeded", "timeout")
STORES = ("archive", "cache", "ledger", "reports")
OBSERVED = ("copy", "execute", "get", "list", "move")
LEDGER_COUNTERS = [
    ("encore_storage_operation_duration_seconds_count", "outcome", OUTCOMES),
    ("encore_storage_operation_duration_seconds_count", "operation", OPERATIONS),
    ("encore_storage_operation_errors_total", "error_type", KINDS),
    ("encore_storage_operation_retries_total", "operation", OBSERVED),
    ("encore_storage_operation_first_byte_seconds_count", "operation", OBSERVED),
    ("encore_storage_operation_items_total", "operation", OBSERVED),
    ("encore_storage_fetched_bytes_total", "store", ("ledger",)),
    ("encore_storage_transferred_bytes_total", "direction", DIRECTIONS),
    ("encore_storage_value_size_bytes_count", "direction", DIRECTIONS),
    ("encore_storage_transactions_total", "outcome", TRANSACTION_OUTCOMES),
    ("encore_storage_transaction_operations_sum", "outcome", TRANSACTION_OUTCOMES),
    ("encore_storage_key_changes_total", "action", ACTIONS),
]
COUNTERS = [
    ("encore_storage_operation_duration_seconds_count", "store", ("_overflow", *STORES)),
    ("encore_events_listener_errors_total", "event", ("StoreDeleteEvent",)),
    ("encore_events_dropped_total", "reason", ("close",)),
    ("encore_storage_label_overflow_total", "label", ("store",)),
]


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    with Scenario() as scenario:
        yield scenario


def operations(scenario: Scenario, outcome: str, store: str = ".*") -> float:
    """Return the number of operations of the store, or of all, with this outcome."""
    labels = rf'operation=".*",outcome="{outcome}",store="{store}"'
    text = fetch(scenario.address)[1]
    return sum(map(float, re.findall(rf"encore_storage_operation_duration_seconds_count{{{labels}}} (.*)", text)))


def grows_for(live: Live, counter: str, label: str, values: tuple[str, ...]) -> bool:
    """Wait until the counter grows for exactly these values of the label."""
    grows = f"sum by ({label}) (rate({counter}[5s])) > 0"
    return bool(live.prometheus.wait_for(grows, lambda found: {one.labels[label] for one in found} == set(values)))


def test_program_is_scraped(live: Live) -> None:
    labels = {"__name__": "up", "job": "encore", "instance": live.scenario.target}

    live.prometheus.wait_for("up", lambda found: found == [Sample(labels, 1)])
    poll(lambda: [target["lastError"] for target in live.prometheus.targets()] == [""])


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_metric_has_all_its_labels(live: Live, metric: Metric) -> None:
    name = f"{metric.name}_count" if metric.type == "histogram" else metric.name

    assert set(live.prometheus.labels(name)) == {"__name__", "instance", "job", *metric.labels}
    assert all(len(labels) == 3 + len(metric.labels) for labels in live.prometheus.series(name))


@pytest.mark.parametrize(("name", "label", "values"), COUNTERS)
def test_errors_of_the_program_recur(live: Live, name: str, label: str, values: tuple[str, ...]) -> None:
    assert grows_for(live, name, label, values)


@pytest.mark.parametrize(("name", "label", "values"), LEDGER_COUNTERS)
def test_ledger_has_all_values(live: Live, name: str, label: str, values: tuple[str, ...]) -> None:
    assert grows_for(live, f'{name}{{store="ledger"}}', label, values)


def test_archive_has_only_ok(live: Live) -> None:
    assert grows_for(live, 'encore_storage_operation_duration_seconds_count{store="archive"}', "outcome", ("ok",))


def test_an_operation_is_stuck(live: Live) -> None:
    age = 'encore_storage_operation_oldest_in_progress_seconds{store="uploads", operation="get"}'
    (first,) = live.prometheus.query(age)

    live.prometheus.wait_for(f"{age} > {first.value}")


def test_a_transaction_is_left_open(live: Live) -> None:
    (sample,) = live.prometheus.query('encore_storage_transactions_in_progress{store="uploads"}')

    assert sample.value == 1


def test_metrics_have_help_texts(live: Live) -> None:
    (description,) = live.prometheus.metadata("encore_storage_store_info")["encore_storage_store_info"]

    assert (description["type"], description["help"]) == ("gauge", STORE_INFO.help)


def test_store_labels(live: Live) -> None:
    assert live.prometheus.label_values("store") == ["_overflow", "archive", "cache", "ledger", "reports", "uploads"]


def test_process_metrics_exist(live: Live) -> None:
    live.prometheus.wait_for("process_resident_memory_bytes > 0")


def test_exemplars_have_operation_ids(live: Live) -> None:
    now = time.time()
    found = live.prometheus.exemplars("encore_storage_operation_duration_seconds_bucket", now - 60, now)

    assert {series["seriesLabels"]["store"] for series in found} > set(STORES)
    assert {tuple(one["labels"]) for series in found for one in series["exemplars"]} == {("operation_id",)}


def test_promtool_accepts_the_metrics(scenario: Scenario) -> None:
    promtool = binary("promtool", package="prometheus")
    _, text = fetch(scenario.address)

    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_break_and_mend_switch_errors(scenario: Scenario) -> None:
    assert operations(scenario, "error", "archive") == 0

    scenario.send("break archive")
    poll(lambda: operations(scenario, "error", "archive") >= 10)
    scenario.send("mend archive")
    failed, succeeded = (operations(scenario, outcome, "archive") for outcome in ("error", "ok"))
    poll(lambda: operations(scenario, "ok", "archive") >= succeeded + 10)

    assert operations(scenario, "error", "archive") == failed


def test_quiet_and_busy_switch_the_load(scenario: Scenario) -> None:
    scenario.send("quiet")
    seen = [operations(scenario, "ok") for _ in range(10)]  # takes longer than several jobs

    assert seen == [seen[0]] * 10
    scenario.send("busy")
    poll(lambda: operations(scenario, "ok") > seen[0])


def test_unknown_command_fails() -> None:
    with pytest.raises(ScenarioError, match="'dance' is not a command"), Scenario() as scenario:
        scenario.send("dance")


def test_failed_start_raises_the_standard_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise OSError('no stores today')", encoding="utf-8")
    monkeypatch.setattr(scenario_process, "SCRIPT", script)

    with pytest.raises(ScenarioError, match="no stores today"), ExitStack() as stack:
        stack.enter_context(Scenario())
