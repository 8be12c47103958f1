"""Configuration of Prometheus and Alertmanager, checked by promtool and amtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from encore_storage.cli.dashboards import write_dashboards
from encore_storage.slo import Slo
from tests.dashboards.servers import binary


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_dashboards(tmp_path, Slo(99.5, 0.1))
    return tmp_path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_configuration_and_rules(written: Path) -> None:
    result = run(binary("promtool", package="prometheus"), "check", "config", f"{written}/prometheus/prometheus.yml")

    assert result.returncode == 0, result.stderr
    assert "2 rule files found" in result.stdout


def test_amtool_accepts_the_configuration(written: Path) -> None:
    path = f"{written}/alertmanager/alertmanager.yml"
    result = run(binary("amtool", package="prometheus-alertmanager"), "check-config", path)

    assert result.returncode == 0, result.stderr
    assert "1 inhibit rules" in result.stdout
