"""An installed wheel has, and writes, the same files as the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.cli.dashboards import write_dashboards
from encore_storage.slo import Slo

ROOT = Path(__file__).parents[1]
PAGE = Path("encore_storage", "server", "page")


def run(*command: object, **environment: str) -> str:
    words = list(map(str, command))
    # Without the variables of coverage, which measures only the checkout.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = subprocess.run(words, env={**inherited, **environment}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an installed wheel, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").iterdir()
    run(*pip, "install", "--no-deps", "--target", folder / "site", wheel)
    return folder / "site"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_installed_command_writes_the_same_dashboards(installed: Path, tmp_path: Path) -> None:
    command = (installed / "bin" / "encore", "dashboards", tmp_path / "wheel", "--objective", "99.5")
    run(*command, PYTHONPATH=str(installed))
    write_dashboards(tmp_path / "checkout", Slo(99.5))

    assert files(tmp_path / "wheel") == files(tmp_path / "checkout")
    assert len(files(tmp_path / "wheel")) == 11


def test_wheel_has_only_the_packages(installed: Path) -> None:
    there = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}

    assert there == {"bin", "encore_events", "encore_run", "encore_storage"}
    assert not list(installed.rglob("builder"))


def test_wheel_has_the_whole_page(installed: Path) -> None:
    assert files(installed / PAGE) == files(ROOT / PAGE)
