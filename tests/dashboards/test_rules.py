"""Each case of rules/*.test.yml holds; each rule has its cases; and what is changed in a rule breaks one of them."""

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
UNCHANGED = "as it is"
LONG = 60.0

Yaml = dict[str, Any]


def read(path: Path) -> Yaml:
    content: Yaml = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def write(path: Path, content: Yaml) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return path


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """How promtool ends, and what it says."""
    command = [binary("promtool", package="prometheus"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG)
    return done.returncode, done.stdout + done.stderr


CASES = {path: read(path) for path in FILES}
RECORDING, ALERTS = (read(RULES / f"encore-{name}.yml")["groups"] for name in ("recording", "alerts"))
ALERT_RULES = [rule for group in ALERTS for rule in group["rules"]]


def title(rule: Yaml) -> str:
    return " ".join(filter(None, (rule["alert"], window(rule["labels"]))))


def window(labels: Yaml) -> str | None:
    """What tells apart the rules of one name, and their alerts."""
    found: str | None = labels.get("window")
    return found


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".test.yml"))
each_alert = pytest.mark.parametrize("rule", ALERT_RULES, ids=title)


def cases(rule: Yaml, document: Yaml) -> Iterator[tuple[Yaml, list[Yaml]]]:
    """Each group of cases in which the rule fires, and what those about the rule expect of it."""
    for group in document["tests"]:
        about = [case for case in group.get("alert_rule_test", ()) if case["alertname"] == rule["alert"]]
        just = [{**case, "exp_alerts": [alert for alert in case["exp_alerts"] if is_of(rule, alert)]} for case in about]
        if any(case["exp_alerts"] for case in just):
            yield group, just


def is_of(rule: Yaml, alert: Yaml) -> bool:
    return window(alert["exp_labels"]) == window(rule["labels"])


def mutants(rule: Yaml) -> dict[str, Yaml]:
    """The rule, and what becomes of it by one change each."""
    changed = {UNCHANGED: rule}
    changed |= {name: {**rule, "expr": expr} for name, expr in changed_exprs(rule["expr"]) if expr != rule["expr"]}
    if rule["for"] != "0m":
        changed |= {"at once": {**rule, "for": "0m"}, "after twice the time": {**rule, "for": scaled(rule["for"], 2)}}
    return {name: {**mutant, "alert": name} for name, mutant in changed.items()}


def changed_exprs(expr: str) -> Iterator[tuple[str, str]]:
    yield "never", "vector(0) > 0"
    yield "whatever the figures", re.sub(r"\s>=? .*$", "", expr, flags=re.MULTILINE)
    yield "or instead of unless", expr.replace(" unless ", " or ")
    for operator in ("\nand\n", "\nor\n"):
        for number, arm in enumerate(expr.split(operator), start=1):
            yield f"only number {number} of {operator.strip()}", arm
    for span in set(re.findall(r"\[\w+\]|offset \w+", expr)):
        yield f"half of {span}", expr.replace(span, scaled(span, 0.5))
        yield f"twice {span}", expr.replace(span, scaled(span, 2))
    thresholds = [found.end() for found in re.finditer(r">=? (?=[\d.]*[1-9])", expr)]
    for number, place in enumerate(thresholds, start=1):
        yield f"number {number} higher", factored(expr, [place], 1.2)
    yield "all numbers lower", factored(expr, thresholds, 0.9)
    yield "the last number much lower", factored(expr, thresholds[-1:], 0.6)


def scaled(text: str, factor: float) -> str:
    """The text, with another duration in it."""
    minutes = {"m": 1, "h": 60, "d": 1440}
    return re.sub(r"(\d+)([mhd])\b", lambda found: f"{int(found[1]) * minutes[found[2]] * factor:.0f}m", text)


def factored(expr: str, places: list[int], factor: float) -> str:
    """The expression, with a factor in some places."""
    for place in reversed(places):
        expr = f"{expr[:place]}{factor} * {expr[place:]}"
    return expr


def needed(expr: str) -> list[Yaml]:
    """What has to be recorded for the expression, in its groups: what it names, and what that names in turn."""
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
    """The cases of the rule for each of its mutants, which all stand in one file, under names of their own."""
    changed = mutants(rule)
    groups = [*needed(rule["expr"]), {"name": "mutants", "rules": list(changed.values())}]
    return {
        "rule_files": [str(write(folder / "rules.yml", {"groups": groups}))],
        "evaluation_interval": document["evaluation_interval"],
        "group_eval_order": [group["name"] for group in groups],
        "tests": [
            {**group, "alert_rule_test": [{**case, "alertname": name} for case in about for name in changed]}
            for group, about in cases(rule, document)
        ],
    }


@each_file
def test_every_case_turns_out_as_it_says(path: Path) -> None:
    ended, said = promtool("test", "rules", path)

    assert ended == 0, said


@each_alert
def test_an_alert_fires_in_one_case_and_is_silent_in_another(rule: Yaml) -> None:
    expected = [
        case["exp_alerts"] for document in CASES.values() for _, about in cases(rule, document) for case in about
    ]

    assert {bool(alerts) for alerts in expected} == {True, False}


@each_alert
def test_an_alert_that_is_changed_breaks_a_case(rule: Yaml, tmp_path: Path) -> None:
    broken = set[str]()
    for document in CASES.values():
        if any(cases(rule, document)):
            test = write(tmp_path / "mutants.test.yml", cases_of_mutants(rule, document, tmp_path))
            broken |= set(re.findall(r"alertname: (.+), time: ", promtool("test", "rules", test)[1]))

    assert broken == mutants(rule).keys() - {UNCHANGED}


def test_every_record_has_a_case_with_its_figure() -> None:
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


def breaks(name: str, old: str, new: str, windows: Collection[str], folder: Path) -> bool:
    """Whether a case of the file fails when this is changed in the records of these windows, and no others are made."""
    rules = [rule for group in RECORDING if group["name"].rpartition("-")[2] in windows for rule in group["rules"]]
    assert any(old in rule["expr"] for rule in rules)
    changed = [{**rule, "expr": rule["expr"].replace(old, new)} for rule in rules]
    write(folder / "rules.yml", {"groups": [{"name": "changed", "rules": changed}]})
    document = next(document for path, document in CASES.items() if path.name == name)
    test = write(folder / name, {**document, "rule_files": ["rules.yml"]})
    return "got:" in promtool("test", "rules", test)[1]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_record_of_another_window_breaks_a_case(window: str, tmp_path: Path) -> None:
    assert breaks("recording-windows.test.yml", f"[{window}]", f"[{scaled(window, 1.2)}]", WINDOWS, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('outcome!="cancelled"', 'outcome=~".+"', id="what is cancelled is an operation"),
        pytest.param('outcome!="cancelled"', 'outcome=~"ok|error"', id="a miss is no operation"),
        pytest.param('outcome="error"', 'outcome=~"error|miss"', id="a miss is an error"),
        pytest.param("ok|miss", "ok", id="a miss is no answer"),
        pytest.param("ok|miss", "ok|miss|error", id="an error is an answer"),
        pytest.param('le="0.5"', 'le="1.0"', id="another latency target"),
        pytest.param("or\n0 * ", "unless\n", id="nothing instead of 0 errors"),
        pytest.param(" > 0)", ")", id="NaN where nothing happens"),
        pytest.param("sum by (job, store) (job_i", "max by (job, store) (job_i", id="one instance for all"),
        pytest.param("sum by (job, store)", "sum by (store)", id="all jobs together"),
        pytest.param("[30d:5m]", "[30m:5m]", id="another period"),
        pytest.param("[30d:5m]", "[30d:10m]", id="other steps"),
        pytest.param("or\njob", "unless\njob", id="nothing before the first step"),
    ],
)
def test_a_record_that_is_changed_breaks_a_case(old: str, new: str, tmp_path: Path) -> None:
    assert breaks("recording.test.yml", old, new, ["5m", "3d", "30d"], tmp_path)


@pytest.mark.parametrize(("name", "windows"), [("recording", ["5m", "3d", "30d"]), ("recording-windows", WINDOWS)])
def test_a_record_that_is_not_changed_breaks_none(name: str, windows: Collection[str], tmp_path: Path) -> None:
    assert not breaks(f"{name}.test.yml", "sum", "sum", windows, tmp_path)


@pytest.mark.parametrize("name", ["recording", "alerts"])
def test_promtool_finds_nothing_to_say_against_the_rules(name: str) -> None:
    ended, said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES / f"encore-{name}.yml")

    assert ended == 0, said


@each_alert
def test_an_alert_says_how_urgent_it_is_what_it_is_about_and_where_to_read_on(rule: Yaml) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(rule["annotations"].values())
    assert page == RUNBOOK.relative_to(RULES.parents[1]).as_posix()
    assert anchor in {heading.lower() for heading in headings}
