"""All queries of all panels, evaluated by a real Prometheus that scrapes the scenario."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from encore_storage.subscribers.catalogue import CATALOGUE, Metric
from tests.dashboards.checks import all_selected, names, selected, unknown_names, without_data
from tests.dashboards.conftest import Live
from tests.dashboards.lint import Dashboard, panels
from tests.dashboards.promql import metric_names, parse, runnable

FOLDER = Path(__file__).parents[2] / "dashboards" / "grafana"
BOARDS = ("encore-overview", "encore-store", "encore-slo")
SUFFIXES = ("", "_bucket", "_count", "_sum")


def dashboard(name: str) -> Dashboard:
    read: Dashboard = json.loads(text(name))
    return read


def text(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text(encoding="utf-8")


@pytest.fixture
def ready(live: Live) -> Live:
    """Wait until rules are evaluated and an alert fires."""
    live.prometheus.wait_for("job_instance_store:encore_storage_slow_answers:increase30d")
    live.prometheus.wait_for(f'ALERTS{{instance="{live.scenario.target}", alertstate="firing"}}')
    live.prometheus.wait_for('ALERTS{instance="all"}')
    return live


def choices(live: Live) -> dict[str, str]:
    """Return a value for each variable; the ledger is the store with all kinds of events."""
    return {"job": "encore", "instance": live.scenario.target, "store": "ledger", "operation": "get"}


def known(live: Live) -> list[str]:
    return live.prometheus.label_values("__name__")


@pytest.mark.parametrize("name", BOARDS)
def test_queries_have_finite_data_with_all_selected(name: str, ready: Live) -> None:
    board = dashboard(name)

    assert list(without_data(board, ready.prometheus, all_selected(board))) == []


@pytest.mark.parametrize("name", BOARDS)
def test_queries_have_finite_data_with_one_value_selected(name: str, ready: Live) -> None:
    board = dashboard(name)

    assert list(without_data(board, ready.prometheus, selected(board, choices(ready)))) == []


@pytest.mark.parametrize("name", BOARDS)
def test_metrics_in_queries_exist(name: str, ready: Live) -> None:
    assert list(unknown_names(dashboard(name), known(ready))) == []


def test_metrics_in_rules_exist(ready: Live) -> None:
    rules = ready.prometheus.rules()

    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    assert unknown_in_rules(rules, known(ready)) == set()
    assert len(rules) > 60


def unknown_in_rules(rules: list[dict[str, Any]], known: list[str]) -> set[str]:
    return {name for rule in rules for name in metric_names(parse(rule["query"]))} - set(known)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_metric_of_the_catalogue_is_on_a_panel(metric: Metric) -> None:
    queried = set.union(*(names(dashboard(name)) for name in BOARDS))

    assert queried & {metric.name + suffix for suffix in SUFFIXES}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_renamed_metric_is_detected(metric: Metric, ready: Live) -> None:
    renamed = [json.loads(text(name).replace(metric.name, f"{metric.name}_renamed")) for name in BOARDS]
    prometheus = ready.prometheus

    assert [one for board in renamed for one in unknown_names(board, known(ready))]
    assert [one for board in renamed for one in without_data(board, prometheus, all_selected(board))]


def test_metric_renamed_in_a_rule_is_detected(ready: Live) -> None:
    rules = ready.prometheus.rules()
    for metric in {name for rule in rules for name in metric_names(parse(rule["query"]))}:
        renamed = [{**rule, "query": re.sub(rf"\b{metric}\b", f"{metric}_renamed", rule["query"])} for rule in rules]
        assert unknown_in_rules(renamed, known(ready)) == {f"{metric}_renamed"}


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("expr", "vector(2)", "'Error ratio', query A: 2.0 to 2.0 is not a ratio"),
        ("expr", "vector(0) / 0", "'Error ratio', query A: no finite data from vector(0) / 0"),
        ("expr", "vector(1) / 0", "'Error ratio', query A: ['inf'] in the data"),
        ("legendFormat", "{{shelf}}", "'Error ratio', query A: the legend has shelf, which not all series have"),
    ],
)
def test_wrong_data_is_detected(setting: str, value: str, problem: str, ready: Live) -> None:
    board = dashboard("encore-store")
    panel = next(panel for panel in panels(board) if panel["title"] == "Error ratio")
    panel["targets"][0][setting] = value

    assert problem in list(without_data(board, ready.prometheus, all_selected(board)))


@pytest.mark.parametrize("name", BOARDS)
def test_variables_offer_existing_values(name: str, ready: Live) -> None:
    board = dashboard(name)
    values = all_selected(board)
    one = choices(ready)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            series, label = variable["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
            assert one[variable["name"]] in ready.prometheus.label_values(label, runnable(series, values))


def test_latency_has_exemplars(ready: Live) -> None:
    with_exemplars = [
        (target, board)
        for board in map(dashboard, BOARDS)
        for panel in panels(board)
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    now = time.time()
    for target, board in with_exemplars:
        found = ready.prometheus.exemplars(runnable(target["expr"], all_selected(board)), now - 60, now)
        assert found
        assert all("operation_id" in one["labels"] for series in found for one in series["exemplars"])
    assert len(with_exemplars) == 2


@pytest.mark.parametrize("name", BOARDS)
def test_annotations_have_valid_queries(name: str, ready: Live) -> None:
    board = dashboard(name)
    queries = {one["name"]: runnable(one["expr"], all_selected(board)) for one in board["annotations"]["list"]}

    assert queries.keys() == {"Restarts", "Firing alerts"}
    assert ready.prometheus.query(queries["Firing alerts"])
    assert ready.prometheus.query(queries["Restarts"]) == []
    assert ready.prometheus.query(queries["Restarts"].replace("> 0", ">= 0"))
