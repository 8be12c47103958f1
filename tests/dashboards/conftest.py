"""A program at work and a Prometheus that scrapes it, once for all tests that look at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.dashboards.scenario_process import Scenario
from tests.dashboards.servers import Prometheus, binary, prometheus_config

RULES = Path(__file__).parents[2] / "dashboards" / "prometheus"
SCRAPES = 10
"""How many scrapes there are before the first test looks."""


class Live(NamedTuple):
    """The program, and the Prometheus that scrapes it every second as the job encore."""

    scenario: Scenario
    prometheus: Prometheus


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what is live looked at first, so that it is one worker of pytest-xdist that does so."""
    items.sort(key=lambda item: "live" not in getattr(item, "fixturenames", ()))


def hurried(folder: Path) -> list[Path]:
    """The rules as they are written, for tests: what waits for a minute does not, for two minutes waits 2 seconds."""
    rules = [RULES / "encore-recording.yml", RULES / "encore-alerts.yml"]
    for path in rules:
        text = path.read_text(encoding="utf-8").replace("  interval: 1m\n", "").replace("for: 2m\n", "for: 2s\n")
        (folder / path.name).write_text(text, encoding="utf-8")
    return [folder / path.name for path in rules]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    binary("prometheus", package="prometheus")  # before anything is started
    rule_files = hurried(tmp_path_factory.mktemp("rules"))
    with (
        Scenario() as scenario,
        Prometheus(prometheus_config({"encore": [scenario.target]}, rule_files=rule_files)) as prometheus,
    ):
        prometheus.wait_for(f'count_over_time(up{{job="encore"}}[1h]) >= {SCRAPES}')
        yield Live(scenario, prometheus)
