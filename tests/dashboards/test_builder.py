"""What is built is what is committed, whole and explained; and the command writes what would be built."""

from __future__ import annotations

import json
from importlib.metadata import version
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
def test_what_is_committed_is_what_is_built(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == BUILT[path], "run: make dashboards"


def test_building_writes_each_file_in_its_place(tmp_path: Path) -> None:
    write(tmp_path)

    assert below(tmp_path) == dict(sorted(BUILT.items()))


def test_nothing_else_is_in_the_folders_of_what_is_built() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dashboards").rglob("encore-*") if path.is_file()}

    assert there == {path for path in BUILT if path.startswith("dashboards/")}


@pytest.mark.parametrize("slo", [Slo(99.5, 1), Slo(99.99, 0.0001), Slo(95, 60), Slo()], ids=str)
def test_the_command_writes_what_the_builder_would_build(slo: Slo, tmp_path: Path) -> None:
    write_dashboards(tmp_path, slo)
    written, built = below(tmp_path), artefacts(slo)

    assert {name: text for name, text in written.items() if name.startswith("grafana/encore-")} == {
        path.removeprefix("dashboards/"): text for path, text in built.items() if path.endswith(".json")
    }
    assert {name: text for name, text in written.items() if name.startswith("prometheus/encore-")} == {
        path.removeprefix("dashboards/"): text for path, text in built.items() if path.endswith(".yml")
    }
    assert written["docs/runbook.md"] == built["docs/runbook.md"]


def test_the_objective_reaches_every_file_that_depends_on_it() -> None:
    one, other = artefacts(Slo(99.5, 1)), artefacts(Slo(95, 60))

    changed = {path for path in one if one[path] != other[path]}
    assert changed == {path for path in BUILT if path.endswith((".json", ".yml")) and "encore-store" not in path}


@pytest.mark.parametrize("edge", SECONDS)
def test_each_edge_can_be_the_latency_target(edge: float) -> None:
    assert (
        f'le="{Slo(latency_target=edge).latency_edge}"'
        in artefacts(Slo(latency_target=edge))["dashboards/prometheus/encore-recording.yml"]
    )


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_which_question_it_answers_and_what_to_do(panel: Panel) -> None:
    assert "?" in panel.answers
    assert panel.answers.endswith((".", "?"))
    assert panel.when_bad.endswith(".")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_documents_have_every_panel(board: Board) -> None:
    page = BUILT["docs/dashboards.md"]

    assert all(f"| {panel.title} | " in page for panel in board.panels)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_panel_covers_another_and_all_have_an_id_of_their_own(board: Board) -> None:
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
def test_a_legend_is_shown_where_there_is_more_than_one_series(board: Board) -> None:
    for panel in panels(json.loads(BUILT[f"dashboards/grafana/{board.uid}.json"])):
        if "legend" in panel["options"] and panel["type"] != "heatmap":
            several = len(panel["targets"]) > 1 or any("{{" in one["legendFormat"] for one in panel["targets"])
            assert panel["options"]["legend"]["showLegend"] == several, panel["title"]


def test_the_dashboards_lead_to_one_another_with_range_and_variables() -> None:
    for board in BOARDS:
        built = json.loads(BUILT[f"dashboards/grafana/{board.uid}.json"])
        (link,) = built["links"]
        assert (link["type"], link["keepTime"], link["includeVars"]) == ("dashboards", True, True)
        assert set(link["tags"]) <= set(built["tags"])


def test_the_rows_of_a_store_are_repeated_for_each_operation() -> None:
    rows = json.loads(BUILT["dashboards/grafana/encore-store.json"])["panels"]

    assert [row["title"] for row in rows if row.get("repeat") == "operation"] == ["$operation"]


def test_all_of_yaml_can_be_read() -> None:
    files = [path for kind in ("*.yml", "*.yaml") for path in (ROOT / "dashboards").rglob(kind)]

    assert len(files) == 7
    assert all(isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict) for path in files)


def test_the_services_share_one_network_and_mount_what_there_is() -> None:
    folder = ROOT / "dashboards"
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]

    assert set(services) == {"demo", "prometheus", "alertmanager", "grafana"}
    assert all(one.get("network_mode") == "service:demo" for name, one in services.items() if name != "demo")
    assert all((folder / mount).exists() for mount in mounts if mount.startswith("."))
    assert "encore demo --keep-serving --port 9464" in services["demo"]["command"]
    assert f"encore-observability[cli]=={version('encore-observability')}'" in services["demo"]["command"]


def test_grafana_is_provisioned_with_the_prometheus_of_the_compose_file_and_the_mounted_dashboards() -> None:
    folder = ROOT / "dashboards"
    source = yaml.safe_load((folder / "grafana/provisioning/datasources/encore.yml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((folder / "grafana/provisioning/dashboards/encore.yml").read_text(encoding="utf-8"))
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]

    assert (source["datasources"][0]["type"], source["datasources"][0]["url"]) == (
        "prometheus",
        "http://127.0.0.1:9090",
    )
    assert f"./grafana:{provider['providers'][0]['options']['path']}:ro" in services["grafana"]["volumes"]
