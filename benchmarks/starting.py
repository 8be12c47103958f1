"""The time that imports and commands take.

The peer of `encore run` is the program alone. Our side is what the run takes more than that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, Snippet

ENCORE = str(Path(sys.executable).with_name("encore"))
NOTHING = "pass"
LIBRARY = "import fsspec"
DEPENDENCIES = "import blinker, structlog, prometheus_client"
USE = "import fsspec; fsspec.filesystem('memory').pipe_file('/key', b'')"


def benches() -> Iterator[Bench]:
    """Yield the rows of starts."""
    rows: tuple[tuple[str, str, list[str], float | None], ...] = (
        ("start of encore run without a summary, more than python -c pass", NOTHING, ["--no-summary"], 60_000),
        ("start of encore run, more than python -c pass", NOTHING, [], 60_000),
        ("start of Encore in a program that imports fsspec, without a summary", LIBRARY, ["--no-summary"], 250_000),
        ("start of Encore in a program that uses fsspec, and the summary printed", USE, [], None),
    )
    for name, code, options, reach_us in rows:
        alone = _run([sys.executable, "-c", code])
        observed = _run([ENCORE, "run", *options, "-c", code], less=alone)
        yield Bench(name, lambda ours=observed, peer=alone: (ours, peer), reach_us=reach_us)  # type: ignore[misc]
    against = "{}, against importing blinker, structlog and prometheus_client"
    dependencies = [sys.executable, "-c", DEPENDENCIES]
    for ours, command, reach in (
        ("import encore_storage", [sys.executable, "-c", "import encore_storage"], 1.6),
        ("encore --version", [ENCORE, "--version"], 2.2),
    ):
        yield Bench(against.format(ours), partial(_runs, command, dependencies), reach)


def _runs(command: list[str], peer: list[str]) -> tuple[Snippet, Snippet]:
    return _run(command), _run(peer)


def _run(command: list[str], less: Snippet | None = None) -> Snippet:
    """Return the run of a command, without its output."""
    nothing = os.open(os.devnull, os.O_RDWR)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    # Installed packages have bytecode; without the variable, so has ours after one round.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in (0, 1, 2)]

    def run() -> None:
        pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
        assert os.waitpid(pid, 0)[1] == 0

    return Snippet("run()", less=less, rounds=30, run=run)
