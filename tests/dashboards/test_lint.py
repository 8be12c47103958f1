"""The dashboards follow the lint rules, and each rule detects its violations."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards import promql
from tests.dashboards.lint import RULES, panels, trees

DASHBOARDS = sorted((Path(__file__).parents[2] / "dashboards" / "grafana").glob("*.json"))
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
MATCHERS = 'job=~"$job", instance=~"$instance"'
GONE = "gone"
EXPR = "panels.0.targets.0.expr"
TYPES = [
    "barchart",
    "bargauge",
    "gauge",
    "heatmap",
    "piechart",
    "stat",
    "state-timeline",
    "table",
    "text",
    "timeseries",
]


def variable(name: str, **settings: Any) -> dict[str, Any]:
    """Return a variable with a query."""
    properties = {"name": name, "type": "query", "label": name.title(), "datasource": SOURCE.copy(), "multi": True}
    return {**properties, "includeAll": True, "allValue": ".+", "refresh": 2, **settings}


def panel(number: int, expr: str, **settings: Any) -> dict[str, Any]:
    """Return a panel with one query."""
    properties = {"id": number, "type": "timeseries", "title": f"Panel {number}", "description": "What it shows."}
    target = {"refId": "A", "datasource": SOURCE.copy(), "expr": expr}
    field_config = {"defaults": {"unit": "s", "mappings": []}, "overrides": []}
    return {**properties, "datasource": SOURCE.copy(), "targets": [target], "fieldConfig": field_config, **settings}


def valid() -> dict[str, Any]:
    """Return a small dashboard without violations."""
    buckets = f"sum by (le) (rate(a_bucket{{{MATCHERS}}}[$__rate_interval]))"
    folded = {"type": "row", "title": "More", "collapsed": True, "panels": [panel(3, f"max(up{{{MATCHERS}}})")]}
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    quantile = {"name": "quantile", "type": "custom", "query": "0.5,0.99", "current": {"value": ["0.99"]}}
    instance = {"query": 'label_values(up{job=~"$job"}, instance)', "refId": "instance"}
    queried = [variable("job", query="label_values(up, job)"), variable("instance", query=instance)]
    return {
        "editable": False,
        "templating": {"list": [source, *queried, quantile]},
        "panels": [panel(1, f"up{{{MATCHERS}}}"), panel(2, f"histogram_quantile($quantile, {buckets})"), folded],
    }


def key_in(holder: Any, step: str) -> Any:
    """Convert a step of a path to a list index or a key."""
    return int(step) if isinstance(holder, list) else step


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the valid dashboard with one setting changed."""
    dashboard = valid()
    *parents, last = path.split(".")
    holder: Any = reduce(lambda inner, step: inner[key_in(inner, step)], parents, dashboard)
    if value == GONE:
        del holder[key_in(holder, last)]
    else:
        holder[key_in(holder, last)] = value
    return dashboard


def violations(dashboard: dict[str, Any]) -> set[str]:
    """Return the rules that a dashboard violates."""
    return {name for name, rule in RULES.items() if list(rule(dashboard))}


def overridden(unit: str) -> list[Any]:
    return [{"matcher": {"id": "byName", "options": "a"}, "properties": [{"id": "unit", "value": unit}]}]


CHANGES: list[tuple[str, str, Any]] = [
    ("template-datasource", "templating.list.0", GONE),
    ("template-datasource", "templating.list.0.name", "prometheus"),
    ("template-datasource", "templating.list.0.query", "loki"),
    ("template-datasource", "templating.list.0.label", "Source"),
    ("template-job target-promql template-label-promql", "templating.list.1", GONE),
    ("template-job", "templating.list.1.datasource", GONE),
    ("template-job", "templating.list.1.datasource.uid", "abc"),
    ("template-job", "templating.list.1.type", "custom"),
    ("template-job", "templating.list.1.label", "job"),
    ("template-job", "templating.list.1.multi", False),
    ("template-job", "templating.list.1.includeAll", GONE),
    ("template-job", "templating.list.1.allValue", ".*"),
    ("template-instance target-promql", "templating.list.2", GONE),
    ("template-instance", "templating.list.2.datasource", "Prometheus"),
    ("template-instance", "templating.list.2.type", "textbox"),
    ("template-instance", "templating.list.2.label", "Job"),
    ("template-instance", "templating.list.2.multi", GONE),
    ("template-instance", "templating.list.2.allValue", None),
    ("template-label-promql", "templating.list.1.query", GONE),
    ("template-label-promql", "templating.list.1.query", "up"),
    ("template-label-promql", "templating.list.1.query", "values(up, job)"),
    ("template-label-promql", "templating.list.1.query", "label_values(up)(job)"),
    ("template-label-promql", "templating.list.1.query", 'label_values(up{a="b",c="d"})'),
    ("template-label-promql", "templating.list.1.query", "label_values(up{, job)"),
    ("template-label-promql", "templating.list.1.query", "label_values(sum(up), job)"),
    ("template-label-promql", "templating.list.1.query", "label_names(sum(up))"),
    ("template-label-promql", "templating.list.1.query", "metrics(encore_[)"),
    ("template-label-promql", "templating.list.1.query", "query_result(sum(up)"),
    ("template-label-promql", "templating.list.2.query.query", 'label_values(up{job=~"$jobs"}, instance)'),
    ("template-on-time-change-reload", "templating.list.1.refresh", 1),
    ("template-on-time-change-reload", "templating.list.2.refresh", GONE),
    ("panel-datasource", "panels.0.datasource", GONE),
    ("panel-datasource", "panels.0.datasource.uid", "abc"),
    ("panel-datasource", "panels.0.datasource.type", "loki"),
    ("panel-datasource", "panels.2.panels.0.datasource", None),
    ("panel-datasource", "panels.1.targets.0.datasource", GONE),
    ("panel-datasource", "panels.1.targets.0.datasource.uid", "-- Mixed --"),
    ("panel-title-description", "panels.0.title", ""),
    ("panel-title-description", "panels.1.title", GONE),
    ("panel-title-description", "panels.0.description", " "),
    ("panel-title-description", "panels.2.panels.0.description", GONE),
    ("panel-units", "panels.0.fieldConfig", GONE),
    ("panel-units", "panels.0.fieldConfig.defaults.unit", ""),
    ("panel-units", "panels.0.fieldConfig.defaults.unit", "seconds"),
    ("panel-units", "panels.0.fieldConfig.overrides", overridden("octets")),
    ("panel-units", "panels.2.panels.0.fieldConfig.defaults.unit", GONE),
    ("panel-no-targets", "panels.0.targets", GONE),
    ("panel-no-targets", "panels.2.panels.0.targets", []),
    ("uneditable-dashboard", "editable", True),
    ("uneditable-dashboard", "editable", GONE),
]

BAD_QUERIES: list[tuple[str, str]] = [
    ("target-promql", ""),
    ("target-promql", f"sum(up{{{MATCHERS}}}"),
    ("target-promql", f"rate(up{{{MATCHERS}}})"),
    ("target-promql", f"up{{{MATCHERS}}} > $limit"),
    ("target-promql", f'up{{{MATCHERS}, store=~"$store"}}'),
    ("target-promql", f'up{{{MATCHERS} or store="a"}}'),
    ("target-rate-interval", f"rate(a_total{{{MATCHERS}}}[5m])"),
    ("target-rate-interval", f"sum(irate((a_total{{{MATCHERS}}}[$__interval])))"),
    ("target-rate-interval", f"rate(a_total{{{MATCHERS}}}[$__range])"),
    ("target-rate-interval", f"rate(sum(up{{{MATCHERS}}})[1h:1m])"),
    ("target-rate-interval", f"increase(a_total{{{MATCHERS}}}[1h])"),
    ("target-rate-interval", f"increase(a_total{{{MATCHERS}}}[$__interval])"),
    ("target-job", 'up{instance=~"$instance"}'),
    ("target-job", 'up{job="$job", instance=~"$instance"}'),
    ("target-job", 'up{job=~"encore", instance=~"$instance"}'),
    ("target-job", f'up{{{MATCHERS}}} / on () up{{instance=~"$instance"}}'),
    ("target-instance", 'up{job=~"$job"}'),
    ("target-instance", 'up{job=~"$job", instance!~"$instance"}'),
    ("target-instance", 'up{job=~"$job", instance=~"$job"}'),
    ("target-job target-instance", "up"),
    ("target-counter-agg", f"a_total{{{MATCHERS}}}"),
    ("target-counter-agg", f"sum(a_total{{{MATCHERS}}})"),
    ("target-counter-agg", f"a_total{{{MATCHERS}}}[$__rate_interval]"),
    ("target-counter-agg", f"max_over_time(a_total{{{MATCHERS}}}[$__range])"),
    ("target-counter-agg", f"histogram_quantile(0.9, a_bucket{{{MATCHERS}}})"),
    ("target-counter-agg", f"increase(a_sum{{{MATCHERS}}}[$__range]) / a_count{{{MATCHERS}}}"),
    ("target-counter-agg", f"a_sum{{{MATCHERS}}} / increase(a_count{{{MATCHERS}}}[$__range])"),
    ("target-counter-agg", f"increase(a_total{{{MATCHERS}}}[$__range:1m])"),
    ("target-counter-agg", f'{{__name__="a_total", {MATCHERS}}}'),
    ("target-counter-agg", f'{{__name__=~"a_total|b", {MATCHERS}}}'),
]

GOOD_QUERIES = [
    f"irate(a_total{{{MATCHERS}}}[${{__rate_interval}}])",
    f"increase(a_total{{{MATCHERS}}}[${{__range_s}}s])",
    f"max_over_time(rate(a_total{{{MATCHERS}}}[$__rate_interval])[1h:1m])",
    f"avg_over_time(up{{{MATCHERS}}}[1h])",
    f"up{{{MATCHERS}}} # it's new\n> vector($__from) # isn't it",
    f"sum by ($job) (up{{{MATCHERS}}})",
    f"store:a_total:rate5m{{{MATCHERS}}}",
    f'label_replace(up{{{MATCHERS}}}, "a", "$1", "b", "(.*)")',
    f'{{__name__!="a_total", {MATCHERS}}}',
    "vector(time() - $__from / 1000)",
]


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("name", ["encore-overview", "encore-slo", "encore-store"])
def test_dashboard_exists(name: str) -> None:
    assert name in [path.stem for path in DASHBOARDS]


@pytest.mark.parametrize("path", DASHBOARDS, ids=named)
@pytest.mark.parametrize("rule", RULES)
def test_dashboard_follows_the_rule(rule: str, path: Path) -> None:
    assert list(RULES[rule](json.loads(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=named)
def test_dashboard_has_panels_and_queries(path: Path) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))

    assert list(panels(dashboard))
    assert list(trees(dashboard))


def test_valid_dashboard_has_no_violations() -> None:
    assert [sentence for rule in RULES.values() for sentence in rule(valid())] == []


@pytest.mark.parametrize(("rules", "path", "value"), CHANGES, ids=lambda value: json.dumps(value).strip('"'))
def test_wrong_setting_violates_only_its_rule(rules: str, path: str, value: Any) -> None:
    assert violations(changed(path, value)) == set(rules.split())


@pytest.mark.parametrize(("rules", "query"), BAD_QUERIES)
def test_bad_query_violates_only_its_rule(rules: str, query: str) -> None:
    assert violations(changed(EXPR, query)) == set(rules.split())


@pytest.mark.parametrize("query", GOOD_QUERIES)
def test_good_query_has_no_violations(query: str) -> None:
    assert violations(changed(EXPR, query)) == set()


def test_every_rule_has_a_failing_case() -> None:
    assert {rule for rules, *_ in [*CHANGES, *BAD_QUERIES] for rule in rules.split()} == set(RULES)


@pytest.mark.parametrize("query", ["label_names()", "label_values(job)", "metrics(encore_.+)", "query_result(sum(up))"])
def test_variable_queries_of_all_kinds_are_valid(query: str) -> None:
    assert violations(changed("templating.list.1.query", query)) == set()


@pytest.mark.parametrize("kind", TYPES)
def test_rules_apply_to_panels_of_every_type(kind: str) -> None:
    settings: dict[str, Any] = {"type": kind, "title": "", "datasource": None, "fieldConfig": {}}
    bad = panel(1, "rate(a[5m]) + b_total", **settings)
    expected = {"panel-datasource", "panel-title-description", "panel-units"}
    expected |= {"target-rate-interval", "target-job", "target-instance", "target-counter-agg"}

    assert violations(changed("panels.0", bad)) == expected
    assert violations(changed("panels.0", {**bad, "targets": []})) >= {"panel-no-targets"}


@pytest.mark.parametrize(
    "settings",
    [
        {"fieldConfig": {"defaults": {"unit": "", "mappings": [{"type": "value", "options": {}}]}}},
        {"fieldConfig": {"overrides": overridden("bytes")}},
        {"type": "stat", "fieldConfig": {}, "options": {"reduceOptions": {"fields": "/^version$/"}}},
    ],
    ids=["mappings", "override", "stat fields"],
)
def test_panel_without_a_default_unit_is_valid(settings: dict[str, Any]) -> None:
    assert violations(changed("panels.0", panel(1, f"up{{{MATCHERS}}}", **settings))) == set()


def test_reduced_fields_need_a_unit_except_in_a_stat() -> None:
    settings: dict[str, Any] = {"fieldConfig": {}, "options": {"reduceOptions": {"fields": "/^version$/"}}}

    assert violations(changed("panels.0", panel(1, f"up{{{MATCHERS}}}", type="gauge", **settings))) == {"panel-units"}


@pytest.mark.parametrize("rule", ["target-rate-interval", "target-job", "target-instance", "target-counter-agg"])
def test_violation_names_the_panel_and_the_query(rule: str) -> None:
    [sentence, *_] = RULES[rule](changed("panels.2.panels.0.targets.0.expr", "rate(a[5m]) + b_total"))

    assert sentence.startswith("Panel 3 'Panel 3', query A 'rate(a[5m]) + b_total': ")


def test_runnable_replaces_all_variables() -> None:
    query = 'label_replace(a{b=~"${b:regex}"}[$__range], "c", "$1", "d", "(.*)")'

    assert promql.runnable(query, {"b": ".+", "__range": "1h"}) == (
        'label_replace(a{b=~".+"}[1h], "c", "$1", "d", "(.*)")'
    )
    with pytest.raises(KeyError, match="__range"):
        promql.runnable(query, {"b": ".+"})
