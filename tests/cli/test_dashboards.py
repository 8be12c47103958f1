"""`encore dashboards`: written, kept and replaced files."""

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


def test_all_files_are_written_and_listed(encore: Encore, tmp_path: Path) -> None:
    result = encore("dashboards", tmp_path / "out")

    *files, objective = result.out.splitlines()
    assert result.status == 0
    assert files == [str(tmp_path / "out" / name) for name in FILES]
    assert all((tmp_path / "out" / name).is_file() for name in FILES)
    assert objective == "objective: 99.9 % of operations succeed, and 99.9 % of answers take at most 0.5 s"


def test_default_directory_is_created(encore: Encore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert encore("dashboards").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["encore-dashboards"]


def test_objective_is_written_to_dashboards_and_rules(encore: Encore, tmp_path: Path) -> None:
    result = encore("dashboards", tmp_path, "--objective", "99.5", "--latency-target", "1")

    alerts = (tmp_path / "prometheus/encore-alerts.yml").read_text(encoding="utf-8")
    recording = (tmp_path / "prometheus/encore-recording.yml").read_text(encoding="utf-8")
    variables = json.loads((tmp_path / "grafana/encore-slo.json").read_text(encoding="utf-8"))["templating"]["list"]
    constants = {one["name"]: one["query"] for one in variables if one["type"] == "constant"}
    assert result.status == 0
    assert "14.4 * (1 - 0.995)" in alerts
    assert "0.999" not in alerts
    assert 'le="1.0"' in recording
    assert 'le="0.5"' not in recording
    assert constants == {"objective": "0.995", "latency_target": "1.0"}


def test_latency_target_must_be_a_bucket_bound(encore: Encore, tmp_path: Path) -> None:
    result = encore("dashboards", tmp_path / "out", "--latency-target", "0.3")

    assert result.status == 2
    assert result.err == (
        "encore: cannot measure a latency target of 0.3 s: give a bucket bound of the histogram, 0.0001, 0.0005, "
        "0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["0.999", "93", "100", "101", "-1", "nan", "inf"])
def test_objective_out_of_range_is_refused(objective: str, encore: Encore, tmp_path: Path) -> None:
    result = encore("dashboards", tmp_path / "out", f"--objective={objective}")

    assert result.status == 2
    assert result.err.startswith(
        f"encore: cannot alert on an objective of {float(objective):g} %: give a percentage, such as 99.9"
    )
    assert not (tmp_path / "out").exists()


def test_objective_must_be_a_number(encore: Encore) -> None:
    result = encore("dashboards", "--objective", "high")

    assert result.status == 2
    assert "--objective" in result.err


def test_edited_configuration_is_kept_and_rules_are_replaced(encore: Encore, tmp_path: Path) -> None:
    encore("dashboards", tmp_path)
    (tmp_path / "alertmanager/alertmanager.yml").write_text("mine", encoding="utf-8")
    (tmp_path / "prometheus/encore-alerts.yml").write_text("old", encoding="utf-8")

    result = encore("dashboards", tmp_path)

    kept = [line for line in result.out.splitlines() if line.startswith("kept (differs from this version; ")]
    assert [line.split()[-1] for line in kept] == [f"{tmp_path}/alertmanager/alertmanager.yml"]
    assert (tmp_path / "alertmanager/alertmanager.yml").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "prometheus/encore-alerts.yml").read_text(encoding="utf-8") != "old"


def test_unedited_files_are_not_listed_as_kept(encore: Encore, tmp_path: Path) -> None:
    encore("dashboards", tmp_path)

    assert "kept" not in encore("dashboards", tmp_path, "--objective", "99").out


def test_force_replaces_edited_configuration(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("mine", encoding="utf-8")

    result = encore("dashboards", tmp_path, "--force")

    assert result.status == 0
    assert (tmp_path / "compose.yaml").read_text(encoding="utf-8") != "mine"


def test_runbook_url_is_written_to_alerts(encore: Encore, tmp_path: Path) -> None:
    encore("dashboards", tmp_path, "--runbook-url", "https://wiki.example/encore")

    alerts = (tmp_path / "prometheus/encore-alerts.yml").read_text(encoding="utf-8")
    assert alerts.count("runbook_url: https://wiki.example/encore#encore") == alerts.count("runbook_url: ") > 10


@pytest.mark.parametrize(
    "url", ["", "a b", "https://wiki/x #a", "https://wiki/p#sec", "a: b", "[x]", "@x", "{{ $x }}", '"x"']
)
def test_invalid_runbook_url_is_refused(url: str, encore: Encore, tmp_path: Path) -> None:
    result = encore("dashboards", tmp_path / "out", f"--runbook-url={url}")

    assert result.status == 2
    assert result.err.startswith(
        f"encore: cannot link to the runbook {' '.join(repr(url).split())}: give a URL or a path"
    )
    assert not (tmp_path / "out").exists()


def test_file_in_place_of_the_directory_is_named(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")

    result = encore("dashboards", tmp_path / "out")

    assert result.status == 1
    assert str(tmp_path / "out") in result.err
    assert len(result.err.splitlines()) == 1


def test_objective_error_has_the_objective() -> None:
    with pytest.raises(ObjectiveError) as raised:
        Slo(100)

    assert isinstance(raised.value, (SloError, ValueError))
    assert raised.value.objective == 100
