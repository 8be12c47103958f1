"""Checks of a dashboard against a Prometheus; each problem is a sentence."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tests.dashboards import promql
from tests.dashboards.lint import Dashboard, panels, parse
from tests.dashboards.servers import Prometheus, Series

SHOWN = 20
"""The time range in seconds."""

GRAFANA = {"__rate_interval": "8s", "__interval": "2s", "__range": f"{SHOWN}s"}


def all_selected(dashboard: Dashboard) -> dict[str, str]:
    """Return the values of the variables if All is selected, as Grafana writes them into a query."""
    return {**GRAFANA, **{one["name"]: _all_value(one) for one in dashboard["templating"]["list"]}}


def selected(dashboard: Dashboard, choices: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the variables if one value of each is selected."""
    escaped = {name: value.replace(".", r"\\.") for name, value in choices.items()}
    return {**all_selected(dashboard), **escaped}


def without_data(dashboard: Dashboard, prometheus: Prometheus, values: Mapping[str, str]) -> Iterator[str]:
    """Yield queries without finite data, ratios out of range and legends with missing labels."""
    for panel, target in _queries(dashboard):
        where = f"{panel['title']!r}, query {target['refId']}"
        series = _answer(prometheus, promql.runnable(target["expr"], values), instant=bool(target.get("instant")))
        numbers = [value for one in series for _, value in one.points]
        if not any(math.isfinite(number) for number in numbers):
            yield f"{where}: no finite data from {promql.runnable(target['expr'], values)}"
        if any(map(math.isinf, numbers)) or (
            "histogram_quantile" not in target["expr"] and any(map(math.isnan, numbers))
        ):
            yield f"{where}: {sorted(set(map(str, numbers)))[-3:]} in the data"
        if _is_ratio(panel, target) and not all(0 <= number <= 1 for number in numbers if not math.isnan(number)):
            yield f"{where}: {min(numbers)} to {max(numbers)} is not a ratio"
        for label in promql.legend_labels(target.get("legendFormat", "")):
            if not all(label in one.labels for one in series):
                yield f"{where}: the legend has {label}, which not all series have"


def unknown_names(dashboard: Dashboard, known: Collection[str]) -> Iterator[str]:
    """Yield metrics in queries that do not exist."""
    for panel, target in _queries(dashboard):
        for name in promql.metric_names(parse(target["expr"], dashboard)) - set(known):
            yield f"{panel['title']!r}, query {target['refId']}: there is no metric {name}"


def names(dashboard: Dashboard) -> set[str]:
    """Return all metrics in its queries."""
    return {name for _, target in _queries(dashboard) for name in promql.metric_names(parse(target["expr"], dashboard))}


def _queries(dashboard: Dashboard) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return ((panel, target) for panel in panels(dashboard) for target in panel["targets"])


def _all_value(variable: Mapping[str, Any]) -> str:
    return str(variable.get("allValue") or variable["query"])


def _answer(prometheus: Prometheus, expr: str, *, instant: bool) -> list[Series]:
    now = time.time()
    if instant:
        return [Series(one.labels, [(now, one.value)]) for one in prometheus.query(expr)]
    return prometheus.query_range(expr, now - SHOWN / 2, now, step=2)


def _is_ratio(panel: Mapping[str, Any], target: Mapping[str, Any]) -> bool:
    """Return whether the query is a ratio by its unit, except budgets, which may be negative."""
    named = {column["matcher"]["options"]: column["properties"] for column in panel["fieldConfig"]["overrides"]}
    renamed = [one["options"]["renameByName"] for one in panel.get("transformations", []) if one["id"] == "organize"]
    column = renamed[0].get(f"Value #{target['refId']}", "") if renamed else ""
    units = [one["value"] for one in named.get(column, []) if one["id"] == "unit"]
    unit = (units or [panel["fieldConfig"]["defaults"]["unit"]])[0]
    return bool(unit == "percentunit") and "budget" not in f"{panel['title']} {column}".lower()
