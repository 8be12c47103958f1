"""Programs with a known number of operations and bytes, and the summary of their run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.run.support import ENCORE, ROOT, environment

SIZE = 100
"""Bytes of each value."""

SECONDS = 60.0

WORK = f"""
import fsspec

def work(number=1):
    files = fsspec.filesystem("memory")
    for _ in range(number):
        files.pipe_file("/key", bytes({SIZE}))
        files.cat_file("/key")
"""
"""A module `work`, whose function sets and gets a number of values."""


class Counted(NamedTuple):
    """The summary of a program that calls `work`."""

    processes: int
    sets: int
    gets: int
    written: int
    read: int
    running: int = 0


def expected(number: int, processes: int = 1, *, running: int = 0) -> Counted:
    """Return what the summary says after `work(number)` in a number of processes."""
    return Counted(processes, number, number, number * SIZE, number * SIZE, running)


def counted(path: Path) -> Counted:
    """Return what a summary in JSON says of the store of `work`, and that nothing failed and no other was used."""
    content = json.loads(path.read_text())
    assert (content["errors"], content["unreadable"]) == ([], 0)
    rows = {(store["store"], one["operation"]): one for store in content["stores"] for one in store["operations"]}
    assert set(rows) <= {("memory", "set"), ("memory", "get")}
    sets, gets = (rows.get(("memory", name), {"count": 0, "bytes": 0}) for name in ("set", "get"))
    return Counted(content["processes"], sets["count"], gets["count"], sets["bytes"], gets["bytes"], content["running"])


class Program:
    """A program in a directory, beside the module `work`.

    Args:
        directory: the directory.
        files: the texts of its files; those without a suffix can be executed.
    """

    def __init__(self, directory: Path, files: Mapping[str, str]) -> None:
        self.directory = directory
        self.json = directory / "summary.json"
        for name, text in {"work.py": WORK, **files}.items():
            path = directory / name
            path.write_text(text.replace("{python}", sys.executable))
            path.chmod(0o644 if path.suffix else 0o755)

    def command(self, *words: str, options: tuple[str, ...] = ("--no-summary",)) -> list[str]:
        """Return the command that runs the program with a summary in JSON."""
        return [str(ENCORE), "run", "--json", str(self.json), *options, *words]

    def run(
        self,
        *words: str,
        options: tuple[str, ...] = ("--no-summary",),
        env: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run the program by a command to its end."""
        return run(self.command(*words, options=options), self.directory, env, **settings)

    def alone(
        self, *words: str, env: Mapping[str, str] | None = None, **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the program as it would run without Encore."""
        own = words[0] in ("-m", "-c") or words[0].endswith(".py")
        return run([sys.executable, *words] if own else [*words], self.directory, env, **settings)

    @property
    def counted(self) -> Counted:
        """The counts in the summary."""
        return counted(self.json)


def variables(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a program: this Python is the first on PATH, and this Encore is used."""
    paths = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return {**environment(), **paths, **(env or {})}


def run(
    command: list[str], directory: Path, env: Mapping[str, str] | None, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command,
        cwd=directory,
        env=variables(env),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **settings,
    )
