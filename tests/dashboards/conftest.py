"""A running program and a Prometheus that scrapes it, shared by the tests that use them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.dashboards.scenario_process import Scenario
from tests.dashboards.servers import Prometheus, binary, prometheus_config

RULES = Path(__file__).parents[2] / "dashboards" / "prometheus"
SCRAPES = 10
"""Number of scrapes before the first test."""


class Live(NamedTuple):
    """The program, and the Prometheus that scrapes it every second as job encore."""

    scenario: Scenario
    prometheus: Prometheus


LIVE = pytest.StashKey[Live]()
RUNNING = pytest.StashKey[ExitStack]()


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


@pytest.fixture
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    binary("prometheus", package="prometheus")  # skips before anything is started
    stash = request.config.stash
    if LIVE not in stash:
        with ExitStack() as starting:
            scenario = starting.enter_context(Scenario())
            rule_files = fast_rules(tmp_path_factory.mktemp("rules"))
            config = prometheus_config({"encore": [scenario.target]}, rule_files=rule_files)
            prometheus = starting.enter_context(Prometheus(config))
            prometheus.wait_for(f'count_over_time(up{{job="encore"}}[1h]) >= {SCRAPES}')
            stash[LIVE] = Live(scenario, prometheus)
            stash[RUNNING] = starting.pop_all()
            request.config.add_cleanup(stash[RUNNING].close)  # if the run is interrupted
    return stash[LIVE]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the program and Prometheus after the last test of `live`, because both keep a processor busy."""
    if LIVE in item.config.stash and "live" not in getattr(nextitem, "fixturenames", ()):
        del item.config.stash[LIVE]
        item.config.stash[RUNNING].close()
