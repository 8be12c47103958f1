"""Rules: all cases of rules/*.test.yml pass, each rule has cases, and each changed rule fails one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.builder.recording import WINDOWS
from tests.dashboards.conftest import RULES
from tests.dashboards.servers import binary

FILES = sorted((Path(__file__).parent / "rules").glob("*.test.yml"))
RECORDS = [path for path in FILES if path.name.startswith("recording")]
RUNBOOK = RULES.parents[1] / "docs" / "runbook.md"
UNCHANGED = "unchanged"
TIMEOUT = 60.0

Yaml = dict[str, Any]


def read(path: Path) -> Yaml:
    content: Yaml = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def write(path: Path, content: Yaml) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return path


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """Run promtool, and return its status and output."""
    command = [binary("promtool", package="prometheus"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    return result.returncode, result.stdout + result.stderr


CASES = {path: read(path) for path in FILES}
RECORDING, ALERTS = (read(RULES / f"encore-{name}.yml")["groups"] for name in ("recording", "alerts"))
ALERT_RULES = [rule for group in ALERTS for rule in group["rules"]]


def title(rule: Yaml) -> str:
    return " ".join(filter(None, (rule["alert"], window(rule["labels"]))))


def window(labels: Yaml) -> str | None:
    """Return the label that distinguishes rules, and alerts, of the same name."""
    found: str | None = labels.get("window")
    return found


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".test.yml"))
each_alert = pytest.mark.parametrize("rule", ALERT_RULES, ids=title)


def cases(rule: Yaml, document: Yaml) -> Iterator[tuple[Yaml, list[Yaml]]]:
    """Yield each group of cases in which the rule fires, with its cases about the rule."""
    for group in document["tests"]:
        related = [case for case in group.get("alert_rule_test", ()) if case["alertname"] == rule["alert"]]
        own = [
            {**case, "exp_alerts": [alert for alert in case["exp_alerts"] if belongs_to(rule, alert)]}
            for case in related
        ]
        if any(case["exp_alerts"] for case in own):
            yield group, own


def belongs_to(rule: Yaml, alert: Yaml) -> bool:
    return window(alert["exp_labels"]) == window(rule["labels"])


def mutants(rule: Yaml) -> dict[str, Yaml]:
    """Return the rule and its mutants, each with one change."""
    changed = {UNCHANGED: rule}
    changed |= {name: {**rule, "expr": expr} for name, expr in changed_exprs(rule["expr"]) if expr != rule["expr"]}
    if rule["for"] != "0m":
        changed |= {"at once": {**rule, "for": "0m"}, "after twice as long": {**rule, "for": scaled(rule["for"], 2)}}
    return {name: {**mutant, "alert": name} for name, mutant in changed.items()}


def changed_exprs(expr: str) -> Iterator[tuple[str, str]]:
    yield "never", "vector(0) > 0"
    yield "without thresholds", re.sub(r"\s>=? .*$", "", expr, flags=re.MULTILINE)
    yield "or instead of unless", expr.replace(" unless ", " or ")
    yield "closed transactions count", expr.replace('{outcome!="closed"}', "")
    yield "misses do not count", expr.replace("ok|miss", "ok")
    for operator in ("\nand\n", "\nor\n"):
        for number, operand in enumerate(expr.split(operator), start=1):
            yield f"only operand {number} of {operator.strip()}", operand
    for span in set(re.findall(r"\[\w+\]|offset \w+", expr)):
        yield f"half of {span}", expr.replace(span, scaled(span, 0.5))
        yield f"twice {span}", expr.replace(span, scaled(span, 2))
    thresholds = [found.end() for found in re.finditer(r">=? (?=[\d.]*[1-9])", expr)]
    for number, place in enumerate(thresholds, start=1):
        yield f"threshold {number} higher", with_factor(expr, [place], 1.2)
    yield "all thresholds lower", with_factor(expr, thresholds, 0.9)
    yield "last threshold much lower", with_factor(expr, thresholds[-1:], 0.6)


def scaled(text: str, factor: float) -> str:
    """Multiply the duration in the text."""
    minutes = {"m": 1, "h": 60, "d": 1440}
    return re.sub(r"(\d+)([mhd])\b", lambda found: f"{int(found[1]) * minutes[found[2]] * factor:.0f}m", text)


def with_factor(expr: str, places: list[int], factor: float) -> str:
    """Insert a factor at these positions of the expression."""
    for place in reversed(places):
        expr = f"{expr[:place]}{factor} * {expr[place:]}"
    return expr


def needed_records(expr: str) -> list[Yaml]:
    """Return the recording rules that the expression needs, directly or indirectly, in their groups."""
    names, groups = expr, list[Yaml]()
    for group in reversed(RECORDING):
        rules = list[Yaml]()
        for rule in reversed(group["rules"]):
            if rule["record"] in names:
                rules.insert(0, rule)
                names += rule["expr"]
        if rules:
            groups.append({"name": group["name"], "rules": rules})
    return groups


def cases_of_mutants(rule: Yaml, document: Yaml, folder: Path) -> Yaml:
    """Return the cases of the rule for all of its mutants, which are written to one file."""
    changed = mutants(rule)
    groups = [*needed_records(rule["expr"]), {"name": "mutants", "rules": list(changed.values())}]
    return {
        "rule_files": [str(write(folder / "rules.yml", {"groups": groups}))],
        "evaluation_interval": document["evaluation_interval"],
        "group_eval_order": [group["name"] for group in groups],
        "tests": [
            {**group, "alert_rule_test": [{**case, "alertname": name} for case in own for name in changed]}
            for group, own in cases(rule, document)
        ],
    }


@each_file
def test_cases_pass(path: Path) -> None:
    status, output = promtool("test", "rules", path)

    assert status == 0, output


@each_alert
def test_alert_has_firing_and_silent_cases(rule: Yaml) -> None:
    expected = [case["exp_alerts"] for document in CASES.values() for _, own in cases(rule, document) for case in own]

    assert {bool(alerts) for alerts in expected} == {True, False}


@each_alert
def test_changed_alert_fails_a_case(rule: Yaml, tmp_path: Path) -> None:
    broken = set[str]()
    for document in CASES.values():
        if any(cases(rule, document)):
            test = write(tmp_path / "mutants.test.yml", cases_of_mutants(rule, document, tmp_path))
            broken |= set(re.findall(r"alertname: (.+), time: ", promtool("test", "rules", test)[1]))

    assert broken == mutants(rule).keys() - {UNCHANGED}


def test_every_record_has_a_case() -> None:
    samples = [
        sample["labels"]
        for path in RECORDS
        for group in CASES[path]["tests"]
        for case in group["promql_expr_test"]
        for sample in case["exp_samples"]
    ]

    assert {labels.split("{")[0] for labels in samples} == {
        rule["record"] for group in RECORDING for rule in group["rules"]
    }


def fails_a_case(name: str, old: str, new: str, windows: Collection[str], folder: Path) -> bool:
    """Return whether a case of the file fails with this change to the records of these windows."""
    rules = [rule for group in RECORDING if group["name"].rpartition("-")[2] in windows for rule in group["rules"]]
    assert any(old in rule["expr"] for rule in rules)
    changed = [{**rule, "expr": rule["expr"].replace(old, new)} for rule in rules]
    write(folder / "rules.yml", {"groups": [{"name": "changed", "rules": changed}]})
    document = next(document for path, document in CASES.items() if path.name == name)
    test = write(folder / name, {**document, "rule_files": ["rules.yml"]})
    return "got:" in promtool("test", "rules", test)[1]


@pytest.mark.parametrize("window", WINDOWS)
def test_record_of_another_window_fails_a_case(window: str, tmp_path: Path) -> None:
    assert fails_a_case("recording-windows.test.yml", f"[{window}]", f"[{scaled(window, 1.2)}]", WINDOWS, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('outcome!="cancelled"', 'outcome=~".+"', id="cancelled counts as an operation"),
        pytest.param('outcome!="cancelled"', 'outcome=~"ok|error"', id="miss is not an operation"),
        pytest.param('outcome="error"', 'outcome=~"error|miss"', id="miss is an error"),
        pytest.param("ok|miss", "ok", id="miss is not an answer"),
        pytest.param("ok|miss", "ok|miss|error", id="error is an answer"),
        pytest.param('le="0.5"', 'le="1.0"', id="another latency target"),
        pytest.param("or\n0 * ", "unless\n", id="no value instead of 0 errors"),
        pytest.param(" > 0)", ")", id="NaN without operations"),
        pytest.param("sum by (job, store) (job_i", "max by (job, store) (job_i", id="only one instance"),
        pytest.param("sum by (job, store)", "sum by (store)", id="jobs not separated"),
        pytest.param("[30d:5m]", "[30m:5m]", id="another period"),
        pytest.param("[30d:5m]", "[30d:10m]", id="other steps"),
        pytest.param("or\njob", "unless\njob", id="no value before the first step"),
    ],
)
def test_changed_record_fails_a_case(old: str, new: str, tmp_path: Path) -> None:
    assert fails_a_case("recording.test.yml", old, new, ["5m", "3d", "30d"], tmp_path)


@pytest.mark.parametrize(("name", "windows"), [("recording", ["5m", "3d", "30d"]), ("recording-windows", WINDOWS)])
def test_unchanged_record_passes(name: str, windows: Collection[str], tmp_path: Path) -> None:
    assert not fails_a_case(f"{name}.test.yml", "sum", "sum", windows, tmp_path)


@pytest.mark.parametrize("name", ["recording", "alerts"])
def test_promtool_lint_accepts_the_rules(name: str) -> None:
    status, output = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES / f"encore-{name}.yml")

    assert status == 0, output


@each_alert
def test_alert_has_severity_annotations_and_a_runbook_paragraph(rule: Yaml) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(rule["annotations"].values())
    assert page == RUNBOOK.relative_to(RULES.parents[1]).as_posix()
    assert anchor in {heading.lower() for heading in headings}
