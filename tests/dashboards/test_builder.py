"""The builder: the committed files are up to date, and the command writes the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dashboards.builder.artefacts import BOARDS, ROOT, artefacts, write
from dashboards.builder.model import Board, Panel
from encore_storage.cli.dashboards import write_dashboards
from encore_storage.slo import Slo
from encore_storage.subscribers.catalogue import SECONDS
from tests.dashboards.lint import panels

BUILT = artefacts()
PANELS = [
    pytest.param(panel, id=f"{board.uid}-{section.title}-{panel.title}")
    for board in BOARDS
    for section in board.sections
    for panel in section.panels
]


def below(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("path", BUILT)
def test_committed_file_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == BUILT[path], "run: make dashboards"


def test_write_creates_all_files(tmp_path: Path) -> None:
    write(tmp_path)

    assert below(tmp_path) == dict(sorted(BUILT.items()))


def test_repository_has_no_other_generated_files() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dashboards").rglob("encore-*") if path.is_file()}

    assert there == {path for path in BUILT if path.startswith("dashboards/")}


@pytest.mark.parametrize("slo", [Slo(99.5, 1), Slo(99.99, 0.0001), Slo(95, 60), Slo()], ids=str)
def test_command_writes_the_same_files_as_the_builder(slo: Slo, tmp_path: Path) -> None:
    write_dashboards(tmp_path, slo)
    written, built = below(tmp_path), artefacts(slo)

    assert {name: text for name, text in written.items() if name.startswith("grafana/encore-")} == {
        path.removeprefix("dashboards/"): text for path, text in built.items() if path.endswith(".json")
    }
    assert {name: text for name, text in written.items() if name.startswith("prometheus/encore-")} == {
        path.removeprefix("dashboards/"): text for path, text in built.items() if path.endswith(".yml")
    }
    assert written["docs/runbook.md"] == built["docs/runbook.md"]


def test_objective_changes_dependent_files() -> None:
    one, other = artefacts(Slo(99.5, 1)), artefacts(Slo(95, 60))

    changed = {path for path in one if one[path] != other[path]}
    assert changed == {path for path in BUILT if path.endswith((".json", ".yml")) and "encore-store" not in path}


@pytest.mark.parametrize("edge", SECONDS)
def test_bucket_bound_is_a_valid_latency_target(edge: float) -> None:
    assert (
        f'le="{Slo(latency_target=edge).latency_edge}"'
        in artefacts(Slo(latency_target=edge))["dashboards/prometheus/encore-recording.yml"]
    )


@pytest.mark.parametrize("panel", PANELS)
def test_panel_has_a_question_and_advice(panel: Panel) -> None:
    assert "?" in panel.answers
    assert panel.answers.endswith((".", "?"))
    assert panel.when_bad.endswith(".")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_document_lists_all_panels(board: Board) -> None:
    page = BUILT["docs/dashboards.md"]

    assert all(f"| {panel.title} | " in page for panel in board.panels)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_do_not_overlap_and_have_unique_ids(board: Board) -> None:
    placed = json.loads(BUILT[f"dashboards/grafana/{board.uid}.json"])["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in placed)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in placed}) == len(placed)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_legend_is_shown_for_several_series(board: Board) -> None:
    for panel in panels(json.loads(BUILT[f"dashboards/grafana/{board.uid}.json"])):
        if "legend" in panel["options"] and panel["type"] != "heatmap":
            several = len(panel["targets"]) > 1 or any("{{" in one["legendFormat"] for one in panel["targets"])
            assert panel["options"]["legend"]["showLegend"] == several, panel["title"]


def test_dashboards_link_to_each_other() -> None:
    for board in BOARDS:
        built = json.loads(BUILT[f"dashboards/grafana/{board.uid}.json"])
        (link,) = built["links"]
        assert (link["type"], link["keepTime"], link["includeVars"]) == ("dashboards", True, True)
        assert set(link["tags"]) <= set(built["tags"])


def test_store_dashboard_repeats_its_operation_row() -> None:
    rows = json.loads(BUILT["dashboards/grafana/encore-store.json"])["panels"]

    assert [row["title"] for row in rows if row.get("repeat") == "operation"] == ["$operation"]


def test_yaml_files_are_valid() -> None:
    files = [path for kind in ("*.yml", "*.yaml") for path in (ROOT / "dashboards").rglob(kind)]

    assert len(files) == 7
    assert all(isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict) for path in files)


def test_compose_services_share_a_network_and_mount_existing_paths() -> None:
    folder = ROOT / "dashboards"
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]

    assert set(services) == {"demo", "prometheus", "alertmanager", "grafana"}
    assert all(one.get("network_mode") == "service:demo" for name, one in services.items() if name != "demo")
    assert all((folder / mount).exists() for mount in mounts if mount.startswith("."))


@pytest.mark.parametrize("wheels", [[], ["encore_observability-0.1.0-py3-none-any.whl"]])
def test_compose_command_installs_a_wheel_beside_it_or_a_clone(tmp_path: Path, wheels: list[str]) -> None:
    demo = yaml.safe_load((ROOT / "dashboards" / "compose.yaml").read_text(encoding="utf-8"))["services"]["demo"]
    beside = tmp_path / "beside"
    for name in ("bin/pip", "bin/encore", *(f"beside/{wheel}" for wheel in wheels)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('#!/bin/sh\necho "$0 $*"\n')
        path.chmod(0o755)
    command = [word.replace("$$", "$").replace("/beside", str(beside)) for word in demo["command"]]

    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}/bin:{os.defpath}"}, capture_output=True, text=True, check=True
    )

    source = f"{beside}/{wheels[0]}" if wheels else "/above"
    assert done.stdout.splitlines() == [
        f"{tmp_path}/bin/pip install --quiet {source}[cli]",
        f"{tmp_path}/bin/encore demo --keep-serving --port 9464",
    ]
    assert demo["volumes"] == [".:/beside:ro", "..:/above:ro"]


@pytest.mark.parametrize("panel", PANELS)
def test_panel_of_percentiles_names_the_last_bucket(panel: Panel) -> None:
    has_percentiles = any("histogram_quantile" in query.expr for query in panel.queries)

    notes = re.findall(r"A percentile above (60 s|5 GiB), the last bucket, is shown as \1\.$", panel.description)

    assert len(notes) == has_percentiles


def test_provisioning_matches_the_compose_file() -> None:
    folder = ROOT / "dashboards"
    source = yaml.safe_load((folder / "grafana/provisioning/datasources/encore.yml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((folder / "grafana/provisioning/dashboards/encore.yml").read_text(encoding="utf-8"))
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]

    assert (source["datasources"][0]["type"], source["datasources"][0]["url"]) == (
        "prometheus",
        "http://127.0.0.1:9090",
    )
    assert f"./grafana:{provider['providers'][0]['options']['path']}:ro" in services["grafana"]["volumes"]
