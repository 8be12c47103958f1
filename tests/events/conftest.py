"""What the tests of the bus share."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def child() -> Callable[[str], str]:
    """Runs a script in a process of its own, where a deadlock is a failure and not a hang; gives what it printed."""
    return functools.partial(run_script, environment=dict(os.environ))


@pytest.fixture
def untraced_child() -> Callable[[str], str]:
    """The same without coverage, which takes a lock of its own in every thread: a fork would find it taken."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return functools.partial(run_script, environment=environment)


def run_script(script: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=30, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
