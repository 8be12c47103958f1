"""All files that are built, by their paths in the repository."""

from __future__ import annotations

from pathlib import Path

from dashboards.builder import documents, rules
from dashboards.builder.alerts import alerts
from dashboards.builder.grafana import rendered
from dashboards.builder.model import Board
from dashboards.builder.overview import OVERVIEW
from dashboards.builder.recording import recording_rules
from dashboards.builder.slo import SLO
from dashboards.builder.store import STORE
from encore_storage.slo import Slo

ROOT = Path(__file__).parents[2]
BOARDS: tuple[Board, ...] = (OVERVIEW, STORE, SLO)


def write(folder: Path = ROOT) -> None:
    """Build everything again, in its place below `folder`."""
    for path, text in artefacts().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def artefacts(slo: Slo | None = None) -> dict[str, str]:
    """The text of each file, for an objective; by default, the default one, which is what the repository has."""
    slo = Slo() if slo is None else slo
    return {
        **{f"dashboards/grafana/{board.uid}.json": rendered(board, slo) for board in BOARDS},
        "dashboards/prometheus/encore-recording.yml": rules.rendered(recording_rules(slo)),
        "dashboards/prometheus/encore-alerts.yml": rules.rendered(rules.alert_rules(alerts(slo))),
        "docs/dashboards.md": documents.dashboards(BOARDS),
        "docs/runbook.md": documents.runbook(alerts(slo)),
    }
