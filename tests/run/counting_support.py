"""Helpers for the tests of runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from encore_storage.run.report import OperationReport, RunReport, StoreReport, read_report
from tests.forking import ROOT

COUNTING = """
import os, signal, sys, threading
from pathlib import Path
from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.run.counting import RunSummary
manager = EventManager()
summary = RunSummary(Path(sys.argv[1])).connect(manager)
store = DictMemoryStore(name="archive", event_manager=manager)
"""
"""The beginning of a program that counts in the directory of its first argument."""


def start(directory: Path, program: str) -> subprocess.Popen[str]:
    """Start a program after `COUNTING`, with pipes. It runs without coverage, which is slow to start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", COUNTING + program]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, str(directory)], cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def run(directory: Path, program: str) -> str:
    """Run a program after `COUNTING`, and return what it prints."""
    with start(directory, program) as process:
        output, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (0, "")
    return output


def store_of(report: RunReport, name: str = "archive") -> StoreReport:
    """Return the store with that name."""
    (store,) = [one for one in report.stores if one.name == name]
    return store


def operation(directory: Path, name: str, store: str = "archive") -> OperationReport:
    """Return the operations with that name."""
    return store_of(read_report(directory), store).by_operation[name]
