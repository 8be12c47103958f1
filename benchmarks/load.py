"""The CPU of a process that reads 5,000 values a second, all its threads included.

`python -m benchmarks.load KIND` prints the nanoseconds of a get in a process of its own, for a kind of `KINDS`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench
from benchmarks.metrics import store_on
from encore_events import EventManager
from encore_storage import monitor
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers.logs import open_logger

RATE = 5_000  # gets a second
BURST = 50  # gets in a row
SECONDS = 1.5

KINDS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {"logs": False, "metrics": False},
    "metrics": {"logs": False},
    "everything": {"port": 0},
}
"""Arguments of `monitor()`, besides the log to a file."""


class Paced:
    """The CPU of a get in a process with a kind of `KINDS`: the least of three runs."""

    less = None

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._taken: list[float] = []

    @property
    def nanoseconds(self) -> float:
        """The CPU of a get."""
        return min(self._taken)

    def run(self, number: int, _round_ns: int) -> None:
        """Run the process, three times at most."""
        if number < 3:
            root = str(Path(__file__).parents[1])
            command = [sys.executable, "-m", "benchmarks.load", self._kind]
            environment = {**os.environ, "PYTHONPATH": root}
            printed = subprocess.check_output(command, env=environment, cwd=root)  # noqa: S603 (our own program)
            self._taken.append(float(printed))


def benches() -> Iterator[Bench]:
    """Yield the rows of CPU."""
    for kind, reach in (("metrics", 1.5), ("everything", 6.0)):
        name = f"CPU of a process with {RATE:,} gets a second and {kind}, against nothing connected"
        yield Bench(name, partial(_compared, kind), reach)


def _compared(kind: str) -> tuple[Paced, Paced]:
    return Paced(kind), Paced("nothing")


def main() -> None:
    """Print the CPU of a get, in nanoseconds."""
    manager = EventManager()
    options = dict(KINDS[sys.argv[1]])
    with ExitStack() as stack:
        if "logs" not in options:
            options["logs"] = stack.enter_context(open_logger(Path(mkdtemp()) / "log"))
        stack.enter_context(monitor(manager, registry=CollectorRegistry(), **options))
        store = store_on(manager)
        _paced(store, 0.3)
        print(_paced(store, SECONDS))  # noqa: T201 (the result)


def _paced(store: DictMemoryStore, seconds: float) -> float:
    """Return the nanoseconds of CPU that a get takes at `RATE`."""
    before, started, done = time.process_time_ns(), time.perf_counter(), 0
    while done < RATE * seconds:
        for _ in range(BURST):
            store.get_data("key").read()
        done += BURST
        time.sleep(max(started + done / RATE - time.perf_counter(), 0))
    return (time.process_time_ns() - before) / done


if __name__ == "__main__":
    main()
