"""The tool that kills at system calls, and the summary of the campaign: the number of cases that its tests tried."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pytest

from tests.campaign.support import CASES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the number of cases of each test."""
    tried: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, number in getattr(report, "user_properties", ()):
                if name == CASES and getattr(report, "when", None) == "call":
                    tried[report.nodeid.partition("[")[0]] += number
    terminalreporter.section("cases tried")
    for name, number in sorted(tried.items()):
        terminalreporter.line(f"{number:9,} {name}")
    terminalreporter.line(f"{tried.total():9,} in total")


@pytest.fixture
def strace() -> None:
    """Skip the test if strace is missing, or fail it if ENCORE_REQUIRE_SERVERS is 1."""
    if shutil.which("strace") is None:
        message = "strace is missing, which kills processes at their system calls: install the package strace"
        if os.environ.get("ENCORE_REQUIRE_SERVERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
