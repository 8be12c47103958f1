"""Every query of every panel, asked of a real Prometheus that scrapes a program in which everything happens."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from encore_storage.subscribers.catalogue import CATALOGUE, Metric
from tests.dashboards.checks import chosen, everything, names, unknown_names, without_data
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


@pytest.fixture(scope="module")
def ready(live: Live) -> Live:
    """Once rules have been evaluated, and an alert of the instance has fired."""
    live.prometheus.wait_for("job_instance_store:encore_storage_slow_answers:increase30d")
    live.prometheus.wait_for(f'ALERTS{{instance="{live.scenario.target}", alertstate="firing"}}')
    live.prometheus.wait_for('ALERTS{instance="all"}')
    return live


def choices(live: Live) -> dict[str, str]:
    """One value of each variable; the ledger is the store in which everything happens."""
    return {"job": "encore", "instance": live.scenario.target, "store": "ledger", "operation": "get"}


def known(live: Live) -> list[str]:
    return live.prometheus.label_values("__name__")


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_gives_finite_data_where_all_is_chosen(name: str, ready: Live) -> None:
    board = dashboard(name)

    assert list(without_data(board, ready.prometheus, everything(board))) == []


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_gives_finite_data_where_one_of_each_is_chosen(name: str, ready: Live) -> None:
    board = dashboard(name)

    assert list(without_data(board, ready.prometheus, chosen(board, choices(ready)))) == []


@pytest.mark.parametrize("name", BOARDS)
def test_every_metric_that_a_query_names_is_there(name: str, ready: Live) -> None:
    assert list(unknown_names(dashboard(name), known(ready))) == []


def test_every_metric_that_a_rule_names_is_there(ready: Live) -> None:
    rules = ready.prometheus.rules()

    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    assert unknown_to_rules(rules, known(ready)) == set()
    assert len(rules) > 60


def unknown_to_rules(rules: list[dict[str, Any]], known: list[str]) -> set[str]:
    return {name for rule in rules for name in metric_names(parse(rule["query"]))} - set(known)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_of_the_catalogue_is_on_some_panel(metric: Metric) -> None:
    asked = set.union(*(names(dashboard(name)) for name in BOARDS))

    assert asked & {metric.name + suffix for suffix in SUFFIXES}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_renamed_metric_is_noticed(metric: Metric, ready: Live) -> None:
    renamed = [json.loads(text(name).replace(metric.name, f"{metric.name}_renamed")) for name in BOARDS]
    prometheus = ready.prometheus

    assert [one for board in renamed for one in unknown_names(board, known(ready))]
    assert [one for board in renamed for one in without_data(board, prometheus, everything(board))]


def test_a_metric_that_is_renamed_in_a_rule_is_noticed(ready: Live) -> None:
    rules = ready.prometheus.rules()
    for metric in {name for rule in rules for name in metric_names(parse(rule["query"]))}:
        renamed = [{**rule, "query": re.sub(rf"\b{metric}\b", f"{metric}_renamed", rule["query"])} for rule in rules]
        assert unknown_to_rules(renamed, known(ready)) == {f"{metric}_renamed"}


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("expr", "vector(2)", "'Error ratio', query A: 2.0 to 2.0 is no ratio"),
        ("expr", "vector(0) / 0", "'Error ratio', query A: no finite data from vector(0) / 0"),
        ("expr", "vector(1) / 0", "'Error ratio', query A: ['inf'] are among the data"),
        ("legendFormat", "{{shelf}}", "'Error ratio', query A: the legend names shelf, which not all series have"),
    ],
)
def test_what_is_wrong_with_data_is_noticed(setting: str, value: str, problem: str, ready: Live) -> None:
    board = dashboard("encore-store")
    panel = next(panel for panel in panels(board) if panel["title"] == "Error ratio")
    panel["targets"][0][setting] = value

    assert problem in list(without_data(board, ready.prometheus, everything(board)))


@pytest.mark.parametrize("name", BOARDS)
def test_what_a_reader_can_choose_is_there(name: str, ready: Live) -> None:
    board = dashboard(name)
    values = everything(board)
    one = choices(ready)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            series, label = variable["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
            assert one[variable["name"]] in ready.prometheus.label_values(label, runnable(series, values))


def test_the_latency_shows_single_operations(ready: Live) -> None:
    with_exemplars = [
        (target, board)
        for board in map(dashboard, BOARDS)
        for panel in panels(board)
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    now = time.time()
    for target, board in with_exemplars:
        found = ready.prometheus.exemplars(runnable(target["expr"], everything(board)), now - 60, now)
        assert found
        assert all("operation_id" in one["labels"] for series in found for one in series["exemplars"])
    assert len(with_exemplars) == 2


@pytest.mark.parametrize("name", BOARDS)
def test_an_annotation_can_be_asked_for(name: str, ready: Live) -> None:
    board = dashboard(name)
    asked = {one["name"]: runnable(one["expr"], everything(board)) for one in board["annotations"]["list"]}

    assert asked.keys() == {"Restarts", "Firing alerts"}
    assert ready.prometheus.query(asked["Firing alerts"])
    assert ready.prometheus.query(asked["Restarts"]) == []
    assert ready.prometheus.query(asked["Restarts"].replace("> 0", ">= 0"))
