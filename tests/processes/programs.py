"""Real programs of several processes, with a known number of operations and bytes, and one page."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from tests.servers import give_up

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SIZE = 100  # bytes of each value
SECONDS = 30.0

MONITORED = """
import os
from encore_storage import DictMemoryStore, monitor

monitor(logs=False, port=int(os.environ["PAGE_PORT"]))
store = DictMemoryStore(name="app")

def work():
    store.from_bytes("key", bytes(100))
    return store.get_data("key").read(-1)
"""

WSGI = (
    MONITORED
    + """
def app(environ, start_response):
    work()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
)

ASGI = (
    MONITORED
    + """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    work()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Program:
    """A program that runs in a directory, and serves a page.

    Attributes:
        command: its command.
        page: the address of the page.
        port: a free port for the program's own server.
        log: the file with its output.
        workers: the process ids of the workers that have answered.
    """

    def __init__(self, directory: Path, command: Sequence[str], log_name: str = "log.txt", **variables: str) -> None:
        page_port, self.port = free_port(), free_port()
        self.command = command
        self.page = f"http://127.0.0.1:{page_port}/"
        self.log = directory / log_name
        self.workers = set[str]()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "ENCORE_"))}
        environment |= {"PAGE_PORT": str(page_port), "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}", **variables}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [each.replace("{port}", str(self.port)).replace("{page}", str(page_port)) for each in command],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the program and its children; return its exit status."""
        if number is signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
        elif self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def request(self, least: int, workers: int = 1) -> int:
        """Send at least so many requests, on several connections, until so many workers have answered; return how many.

        A worker answers with its process id.
        """
        until(self.answers, self)
        answered, sent = set[str](), 0
        with ThreadPoolExecutor(4) as pool:
            while sent < least or len(answered) < workers:
                answered |= set(pool.map(lambda _: self.answer(), range(10)))
                sent += 10
                assert sent < 2000, self.output()
        self.workers |= answered
        return sent

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def answer(self, path: str = "/") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            assert response.status == 200, self.output()
            return response.read().decode()

    def scrape(self) -> str:
        """Return the metrics; wait until the page is there."""
        return until(self._scrape, self)

    def _scrape(self) -> str:
        try:
            with urllib.request.urlopen(f"{self.page}metrics", timeout=5) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def totals(self) -> dict[str, int]:
        """Return the totals of all processes since the start, as the page shows them."""
        with urllib.request.urlopen(f"{self.page}api/operations", timeout=5) as response:
            totals: dict[str, int] = json.load(response)["totals"]
            return totals

    def counts(self) -> dict[str, float]:
        """Return the number of sets and gets, and the bytes that they wrote and read."""
        return counts_of(self.scrape())


def counts_of(text: str) -> dict[str, float]:
    return {
        "sets": sample(text, 'operation_duration_seconds_count{store="app",operation="set",outcome="ok"}'),
        "gets": sample(text, 'operation_duration_seconds_count{store="app",operation="get",outcome="ok"}'),
        "written": sample(text, 'transferred_bytes_total{store="app",operation="set",direction="write"}'),
        "read": sample(text, 'transferred_bytes_total{store="app",operation="get",direction="read"}'),
    }


def expected(count: int) -> dict[str, float]:
    return {"sets": count, "gets": count, "written": count * SIZE, "read": count * SIZE}


def sample(text: str, series: str) -> float:
    """Return the value of a series in the text of a scrape, 0 if it is not there; its labels may have any order."""
    name, _, labels = series.partition("{")
    wanted = sorted(labels.rstrip("}").split(","))
    for line in text.splitlines():
        found = re.fullmatch(rf"encore_storage_{name}{{(.*)}} (\S+)", line)
        if found is not None and sorted(found[1].split(",")) == wanted:
            return float(found[2])
    return 0.0


def until(condition: Callable[[], T], program: Program) -> T:
    """Wait until the condition is true, and return it."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not in {SECONDS} s: {program.output()}")


@contextlib.contextmanager
def running(directory: Path, source: str, *command: str, **variables: str) -> Iterator[Program]:
    """Write `program.py`, and run a command, whose first word is the name of a script of this Python, or 'python'."""
    (directory / "program.py").write_text(source)
    if command[0] != "python" and not (BIN / command[0]).exists():
        give_up(f"{command[0]} is not installed: install the dependency group dev")
    script = sys.executable if command[0] == "python" else str(BIN / command[0])
    with Program(directory, [script, *command[1:]], **variables) as program:
        yield program
