"""Real processes that send their events, and what receives them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encore_storage.processes.errors import FrameError
from encore_storage.processes.frames import Batch, Label, read_events
from encore_storage.processes.info import ProcessInfo
from encore_storage.processes.receiver import InFlight, Receiver

LABEL = Label("encore.storage.key.set", "archive", None, None, 7)
PROCESS = ProcessInfo(7, "worker.py", 1000.0)

MEMBER = """
import os, sys, time
from pathlib import Path
from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.processes.sender import Sender
from encore_storage.server import EventFeed

manager = EventManager()
feed = EventFeed()
sender = Sender(Path(sys.argv[1]), feed.own.process)
feed.forward_to(sender)
feed.connect(manager)
assert sender.connect()
store = DictMemoryStore(name="archive", event_manager=manager)

def close():
    feed.disconnect()
    sender.close()

"""

SERVING = """
import sys
from pathlib import Path
from encore_storage.processes.receiver import InFlight, Receiver
from encore_storage.server import EventFeed

feed = EventFeed()
receiver = Receiver(Path(sys.argv[1]), feed)
receiver.start()
"""

LOOP = """
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Child:
    """A process with a store, a feed and a sender, or with another `program`."""

    def __init__(self, path: Path, program: str = MEMBER) -> None:
        command = [sys.executable, "-c", program + LOOP, str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def start(self, code: str) -> None:
        """Run a line of code there, without waiting for its end."""
        assert self.process.stdin is not None
        print(code, file=self.process.stdin, flush=True)

    def wait(self) -> None:
        """Wait until the line has run."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"

    def run(self, code: str) -> None:
        """Run a line of code there."""
        self.start(code)
        self.wait()

    def ask(self, expression: str) -> Any:
        """Return the value of an expression there; it must be JSON."""
        assert self.process.stdout is not None
        self.start(f"import json; print(json.dumps({expression}))")
        answer = json.loads(self.process.stdout.readline())
        self.wait()
        return answer

    @property
    def is_stopped(self) -> bool:
        """True if the process was stopped by a signal."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def end(self) -> None:
        """Kill the process if it is still running."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def children(path: Path, count: int = 1) -> Iterator[list[Child]]:
    """Yield processes that are connected to a receiver."""
    started = [Child(path) for _ in range(count)]
    try:
        for child in started:
            child.run("pass")
        yield started
    finally:
        for child in started:
            child.end()


class Kept:
    """A destination that keeps what it gets, also as the member of each process."""

    def __init__(self) -> None:
        self.joined: list[ProcessInfo] = []
        self.texts: list[bytes] = []
        self.states: list[bytes] = []
        self.skipped = 0
        self.left: list[bool] = []

    def join(self, process: ProcessInfo) -> Kept:
        self.joined.append(process)
        return self

    def take_events(self, payload: bytes) -> None:
        skipped, events = read_events(payload)
        self.skipped += skipped
        self.texts += [text for _, _, _, text in events]

    def take_state(self, payload: bytes) -> None:
        if payload == b"malformed":
            raise FrameError("a malformed state")
        self.states.append(payload)

    def leave(self, *, vanished: bool) -> InFlight:
        self.left.append(vanished)
        return {("archive", "get"): 3}


@contextmanager
def receiving(path: Path, destination: Kept) -> Iterator[list[tuple[ProcessInfo, InFlight]]]:
    """Run a receiver, and yield the processes that vanish meanwhile."""
    vanished: list[tuple[ProcessInfo, InFlight]] = []
    receiver = Receiver(path, destination, on_vanished=lambda *found: vanished.append(found))
    receiver.start()
    try:
        yield vanished
    finally:
        receiver.close()


def payload(*texts: bytes) -> bytes:
    """Return the payload of a batch of events."""
    batch = Batch()
    for number, text in enumerate(texts):
        batch.add(float(number), LABEL, f"id{number}", text)
    return batch.payload()
