"""A pytest plugin for the suite of a library: observes the library, if asked to, and reports the outcomes."""

from __future__ import annotations

import importlib
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from encore_events import BaseEvent, get_event_manager
from encore_storage import observe
from encore_storage.events import StoreProgressEndEvent

OUTCOMES = ("passed", "skipped", "failed")
"""From the weakest to the strongest; a test has the strongest of its phases and subtests."""


class OwnSuite:
    """Observes the modules of the library from the start of the session; before it, suites prepare its import.

    Attributes:
        outcomes: the outcome of each test by its id, and "failed" for each file that cannot be collected.
        operations: the number of operations by their names.
    """

    def __init__(self, modules: list[str], report: Path) -> None:
        self.outcomes: dict[str, str] = {}
        self.operations: Counter[str] = Counter()
        self._modules = modules
        self._report = report

    def pytest_sessionstart(self) -> None:
        for module in self._modules:
            observe(importlib.import_module(module))
        if self._modules:
            get_event_manager().connect(BaseEvent, self._count)  # all events, so that all are made

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcomes[report.nodeid] = "failed"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        known = self.outcomes.get(report.nodeid, OUTCOMES[0])
        self.outcomes[report.nodeid] = max(known, report.outcome, key=OUTCOMES.index)

    def pytest_sessionfinish(self) -> None:
        self._report.write_text(json.dumps({"outcomes": self.outcomes, "operations": self.operations}))

    def _count(self, event: BaseEvent) -> None:
        if isinstance(event, StoreProgressEndEvent):
            self.operations[str(event.operation)] += 1


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin with the settings that the parent has put into the environment."""
    modules = os.environ["ENCORE_SUITE_OBSERVED"].split()
    config.pluginmanager.register(OwnSuite(modules, Path(os.environ["ENCORE_SUITE_REPORT"])))
