"""Fixtures for the tests of the bus."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.events import steps

ROOT = Path(__file__).parents[2]


@pytest.fixture
def child() -> Callable[[str], str]:
    """Return a function that runs a script in another process, with a timeout, and returns its output."""
    return functools.partial(run_script, environment=dict(os.environ))


@pytest.fixture
def untraced_child() -> Callable[[str], str]:
    """Do the same without coverage, whose lock in every thread may be held at a fork."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return functools.partial(run_script, environment=environment)


@pytest.fixture(scope="module")
def stepped() -> Iterator[None]:
    """Let tests interrupt streams at each step."""
    with steps.stepped(steps.STREAMS):
        yield


@pytest.fixture(scope="module")
def stepped_registry() -> Iterator[None]:
    """Let tests interrupt event managers and signals at each step."""
    with steps.stepped(steps.REGISTRY):
        yield


def run_script(script: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=30, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
