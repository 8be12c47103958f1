"""All generated files, by their paths in the repository."""

from __future__ import annotations

from pathlib import Path

from dashboards.builder import documents, rules
from dashboards.builder.alerts import alerts
from dashboards.builder.grafana import render
from dashboards.builder.model import Board
from dashboards.builder.overview import OVERVIEW
from dashboards.builder.recording import recording_rules
from dashboards.builder.slo import SLO
from dashboards.builder.store import STORE
from encore_storage.slo import Slo

ROOT = Path(__file__).parents[2]
BOARDS: tuple[Board, ...] = (OVERVIEW, STORE, SLO)


def write(folder: Path = ROOT) -> None:
    """Write all generated files below `folder`."""
    for path, text in artefacts().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def artefacts(slo: Slo | None = None) -> dict[str, str]:
    """Return the text of each file for an objective; the repository contains those of the default objective."""
    slo = Slo() if slo is None else slo
    return {
        **{f"dashboards/grafana/{board.uid}.json": render(board, slo) for board in BOARDS},
        "dashboards/prometheus/encore-recording.yml": rules.render(recording_rules(slo)),
        "dashboards/prometheus/encore-alerts.yml": rules.render(rules.alert_rules(alerts(slo))),
        "docs/dashboards.md": documents.dashboards(BOARDS),
        "docs/runbook.md": documents.runbook(alerts(slo)),
    }
