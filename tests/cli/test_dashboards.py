"""The command `encore dashboards`: files for an operator, who may have changed some of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encore_storage.slo import ObjectiveError, Slo, SloError
from tests.cli.conftest import Encore

FILES = [
    "alertmanager/alertmanager.yml",
    "compose.yaml",
    "docs/runbook.md",
    "grafana/encore-overview.json",
    "grafana/encore-slo.json",
    "grafana/encore-store.json",
    "grafana/provisioning/dashboards/encore.yml",
    "grafana/provisioning/datasources/encore.yml",
    "prometheus/encore-alerts.yml",
    "prometheus/encore-recording.yml",
    "prometheus/prometheus.yml",
]


def test_it_writes_all_files_and_says_which(encore: Encore, tmp_path: Path) -> None:
    done = encore("dashboards", tmp_path / "out")

    *files, objective = done.out.splitlines()
    assert done.status == 0
    assert files == [str(tmp_path / "out" / name) for name in FILES]
    assert all((tmp_path / "out" / name).is_file() for name in FILES)
    assert objective == "objective: 99.9 % of operations succeed, and answers arrive within 0.5 s"


def test_without_a_directory_it_makes_one(encore: Encore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert encore("dashboards").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["encore-dashboards"]


def test_the_objective_is_in_dashboards_and_rules(encore: Encore, tmp_path: Path) -> None:
    done = encore("dashboards", tmp_path, "--objective", "99.5", "--latency-target", "1")

    alerts = (tmp_path / "prometheus/encore-alerts.yml").read_text(encoding="utf-8")
    recording = (tmp_path / "prometheus/encore-recording.yml").read_text(encoding="utf-8")
    variables = json.loads((tmp_path / "grafana/encore-slo.json").read_text(encoding="utf-8"))["templating"]["list"]
    constants = {one["name"]: one["query"] for one in variables if one["type"] == "constant"}
    assert done.status == 0
    assert "14.4 * (1 - 0.995)" in alerts
    assert "0.999" not in alerts
    assert 'le="1.0"' in recording
    assert 'le="0.5"' not in recording
    assert constants == {"objective": "0.995", "latency_target": "1.0"}


def test_a_latency_target_that_is_no_edge_is_refused_with_the_list_of_edges(encore: Encore, tmp_path: Path) -> None:
    done = encore("dashboards", tmp_path / "out", "--latency-target", "0.3")

    assert done.status == 2
    assert done.err == (
        "encore: a latency target of 0.3 s is no edge of the duration's buckets: give one of 0.0001, 0.0005, 0.001, "
        "0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["0.999", "93", "100", "101", "-1", "nan", "inf"])
def test_an_objective_that_no_alert_can_hold_to_is_refused(objective: str, encore: Encore, tmp_path: Path) -> None:
    done = encore("dashboards", tmp_path / "out", f"--objective={objective}")

    assert done.status == 2
    assert done.err.startswith(
        f"encore: an objective of {float(objective):g} % can't be alerted on: give per cent, as in 99.9"
    )
    assert not (tmp_path / "out").exists()


def test_an_objective_that_is_no_number_is_refused(encore: Encore) -> None:
    done = encore("dashboards", "--objective", "high")

    assert done.status == 2
    assert "--objective" in done.err


def test_what_somebody_has_changed_is_kept_and_what_is_built_is_written_anew(encore: Encore, tmp_path: Path) -> None:
    encore("dashboards", tmp_path)
    (tmp_path / "alertmanager/alertmanager.yml").write_text("mine", encoding="utf-8")
    (tmp_path / "prometheus/encore-alerts.yml").write_text("old", encoding="utf-8")

    done = encore("dashboards", tmp_path)

    kept = [
        line for line in done.out.splitlines() if line.startswith("kept, since it is not what this version writes ")
    ]
    assert [line.split()[-1] for line in kept] == [f"{tmp_path}/alertmanager/alertmanager.yml"]
    assert (tmp_path / "alertmanager/alertmanager.yml").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "prometheus/encore-alerts.yml").read_text(encoding="utf-8") != "old"


def test_what_nobody_has_changed_is_not_called_kept(encore: Encore, tmp_path: Path) -> None:
    encore("dashboards", tmp_path)

    assert "kept" not in encore("dashboards", tmp_path, "--objective", "99").out


def test_forced_it_replaces_what_somebody_has_changed(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("mine", encoding="utf-8")

    done = encore("dashboards", tmp_path, "--force")

    assert done.status == 0
    assert (tmp_path / "compose.yaml").read_text(encoding="utf-8") != "mine"


def test_the_alerts_say_where_the_runbook_is(encore: Encore, tmp_path: Path) -> None:
    encore("dashboards", tmp_path, "--runbook-url", "https://wiki.example/encore")

    alerts = (tmp_path / "prometheus/encore-alerts.yml").read_text(encoding="utf-8")
    assert alerts.count("runbook_url: https://wiki.example/encore#encore") == alerts.count("runbook_url: ") > 10


@pytest.mark.parametrize(
    "url", ["", "a b", "https://wiki/x #a", "https://wiki/p#sec", "a: b", "[x]", "@x", "{{ $x }}", '"x"']
)
def test_a_runbook_that_nobody_can_be_led_to_is_refused(url: str, encore: Encore, tmp_path: Path) -> None:
    done = encore("dashboards", tmp_path / "out", f"--runbook-url={url}")

    assert done.status == 2
    assert done.err.startswith(
        f"encore: a runbook at {' '.join(repr(url).split())} can't be linked to: give a URL or a path"
    )
    assert not (tmp_path / "out").exists()


def test_a_file_where_the_directory_should_be_is_told(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")

    done = encore("dashboards", tmp_path / "out")

    assert done.status == 1
    assert str(tmp_path / "out") in done.err
    assert len(done.err.splitlines()) == 1


def test_an_objective_says_what_it_is_about() -> None:
    with pytest.raises(ObjectiveError) as raised:
        Slo(100)

    assert isinstance(raised.value, (SloError, ValueError))
    assert raised.value.objective == 100
