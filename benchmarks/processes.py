"""The cost of serving a page for other processes, to the process that serves it.

It is CPU time of all threads of the process, which share one interpreter lock: two cores are too few for four busy
processes, so the wall time would be that of waiting for a core.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from time import process_time_ns

from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor

GROUP = f"benchmark {os.getpid()}"
MEMBERS, BURST, PAUSE = 3, 20, 0.01  # 2,000 operations a second each

MEMBER = f"""
import sys, time
from encore_storage import DictMemoryStore, monitor
monitor(logs=False, port=int(sys.argv[1]), group=sys.argv[2])
store = DictMemoryStore(name="member")
store.from_bytes("key", bytes(4096))
print("runs", flush=True)
due = time.monotonic()
while True:
    for _ in range({BURST}):
        store.get_data("key").read()
    due += {PAUSE}
    time.sleep(max(due - time.monotonic(), 0))
"""


class Throughput:
    """The CPU time of the process for a call, as the median of rounds in which something else happens.

    Args:
        call: The call.
        during: Makes the context of a round.
    """

    less = None

    def __init__(self, call: Callable[[], object], during: Callable[[], AbstractContextManager[object]]) -> None:
        self._call = call
        self._during = during
        self._taken: list[float] = []

    @property
    def nanoseconds(self) -> float:
        """The time of a call."""
        return median(self._taken)

    def run(self, number: int, _round_ns: int) -> None:
        """Run a round of 20,000 calls, five times at most."""
        if number >= 5:
            return
        with self._during():
            started = process_time_ns()
            for _ in range(20_000):
                self._call()
            self._taken.append((process_time_ns() - started) / 20_000)


def benches() -> Iterator[Bench]:
    """Yield the row of processes."""
    name = f"CPU of a get while serving the page of {MEMBERS} processes of 2,000 gets a second, against alone"
    yield Bench(name, serving, 1 / 0.9)


def serving() -> tuple[Throughput, Throughput]:
    """Compare gets beside running and beside stopped processes, which go on to be members."""
    manager = EventManager()
    observed = monitor(manager, logs=False, registry=CollectorRegistry(), port=0, group=GROUP)
    assert observed.page is not None
    store = DictMemoryStore(name="bench", event_manager=manager)
    store.from_bytes("key", bytes(4096))
    members = [_member(observed.page.rpartition(":")[2].strip("/")) for _ in range(MEMBERS)]

    def get() -> None:
        store.get_data("key").read()

    return Throughput(get, lambda: _continued(members)), Throughput(get, nullcontext)


def _member(port: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MEMBER, port, GROUP]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    member = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: S603 (our own program)
    atexit.register(member.kill)
    assert member.stdout is not None
    member.stdout.readline()
    member.send_signal(signal.SIGSTOP)
    return member


@contextmanager
def _continued(members: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    for member in members:
        member.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        for member in members:
            member.send_signal(signal.SIGSTOP)
