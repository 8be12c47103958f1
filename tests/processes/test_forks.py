"""Forks of programs with a page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.forking import ROOT

PROGRAM = Path(__file__).with_name("forks_under_load.py")


def counted_wrongly(forks: int, seconds: float) -> tuple[str, str]:
    """Run the program; return the difference between the scrape and what was done, and the errors."""
    command = [sys.executable, "-W", "error", "-X", "faulthandler", str(PROGRAM), str(forks)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=seconds, capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr


def test_forks_under_load_neither_hang_nor_lose_nor_double_counts() -> None:
    assert counted_wrongly(60, 100) == ("0.0\n", "")
