"""A running program and a Prometheus that scrapes it, shared by the tests that use them."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.dashboards.scenario_process import Scenario
from tests.dashboards.servers import Prometheus, binary, prometheus_config
from tests.sharing import Shared

RULES = Path(__file__).parents[2] / "dashboards" / "prometheus"
SCRAPES = 10
"""Number of scrapes before the first test."""


class Live(NamedTuple):
    """The program, and the Prometheus that scrapes it every second as job encore."""

    scenario: Scenario
    prometheus: Prometheus


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests of the fixture `live` first, so that a single worker of pytest-xdist starts it."""
    items.sort(key=lambda item: "live" not in getattr(item, "fixturenames", ()))


def fast_rules(folder: Path) -> list[Path]:
    """Write the rules with shorter intervals: 1 minute becomes none, 2 minutes become 2 seconds."""
    rules = [RULES / "encore-recording.yml", RULES / "encore-alerts.yml"]
    for path in rules:
        text = path.read_text(encoding="utf-8").replace("  interval: 1m\n", "").replace("for: 2m\n", "for: 2s\n")
        (folder / path.name).write_text(text, encoding="utf-8")
    return [folder / path.name for path in rules]


def start(starting: ExitStack) -> Live:
    """Start the program and Prometheus, and wait for the first scrapes."""
    scenario = starting.enter_context(Scenario())
    rule_files = fast_rules(Path(starting.enter_context(tempfile.TemporaryDirectory())))
    config = prometheus_config({"encore": [scenario.target]}, rule_files=rule_files)
    prometheus = starting.enter_context(Prometheus(config))
    prometheus.wait_for(f'count_over_time(up{{job="encore"}}[1h]) >= {SCRAPES}')
    return Live(scenario, prometheus)


LIVE = Shared[Live]("live", start)


@pytest.fixture
def live(request: pytest.FixtureRequest) -> Live:
    binary("prometheus", package="prometheus")  # skips before anything is started
    return LIVE.get(request.config)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the program and Prometheus after the last test of `live`, because both keep a processor busy."""
    LIVE.stop_before(nextitem, item.config)
