"""The last events of a program, which the clients of its page receive before their streams end."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from tests.processes.programs import free_port
from tests.run.support import started
from tests.server.support import LONG, Client

PROGRAM = """
import sys
from encore_storage import DictMemoryStore, monitor

store = DictMemoryStore(name="shop")

def work():
    store.from_bytes("first", b"1")
    sys.stdin.readline()  # until the client is connected
    store.from_bytes("last", b"12345")
    store.set_data("last", 7)

def serve():
    monitored = monitor(logs=False, port=0)
    print(monitored.page, flush=True)
    return monitored

"""

EXITS = {
    "exit": "serve(); work()",
    "close": "with serve(): work()",
    "multiprocessing": """
import multiprocessing, os
def main():
    sys.stdin = open(lines)
    serve(); work()
child = multiprocessing.get_context("fork").Process(target=main)
lines = os.dup(0)  # a child of multiprocessing closes the original
child.start()
child.join()
sys.exit(child.exitcode)
""",
}


@pytest.fixture(params=EXITS)
def program(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with python(PROGRAM + EXITS[request.param]) as process:
        yield process
        process.kill()


def python(text: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", text], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def page_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str], lines: str = "\n") -> None:
    """Let the program read these lines and go on to its end, which is an error."""
    _, errors = process.communicate(lines, timeout=LONG)
    assert "TypeError" in errors
    assert process.returncode == 1


def test_events_end_with_the_last_of_the_program(program: subprocess.Popen[str]) -> None:
    with Client(page_of(program), "/events?type=*.ended") as client:
        end(program)
        ended = [message.json["data"] for message in client.messages()]

    assert [(one["key"], one["outcome"]) for one in ended[-2:]] == [("last", "ok"), ("last", "error")]


def test_summaries_end_with_the_last_counts_of_the_program(program: subprocess.Popen[str]) -> None:
    with Client(page_of(program), "/events?view=summary") as client:
        end(program)
        messages = [message.json for message in client.messages()]

    totals = messages[-1]["totals"]
    assert (totals["operations"], totals["errors"], totals["written"]) == (3, 1, 6)
    assert "error" in {one["outcome"] for message in messages for one in message["recent"]}


def test_last_summary_has_the_second_that_is_not_over() -> None:
    manager = EventManager()
    store = DictMemoryStore(event_manager=manager)
    monitored = monitor(manager, logs=False, registry=CollectorRegistry(), port=0)
    with Client(str(monitored.page), "/events?view=summary") as client:
        client.next()
        store.from_bytes("last", b"1")
        monitored.close()
        messages = [message.json for message in client.messages()]

    assert [sum(one["seconds"]["operations"]) for one in messages if one["seconds"]["time"]] == [1]
    assert messages[-1]["now"].is_integer()


def test_error_that_ends_a_run_is_in_the_last_summary(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM + "print('ready', flush=True); work()")
    port = free_port()
    with started("--port", port, script) as process:
        page_of(process)
        with Client(f"http://127.0.0.1:{port}/", "/events?view=summary") as client:
            end(process)
            *_, last = [message.json for message in client.messages()]

    assert last["totals"]["errors"] == 1


def test_close_sends_all_that_waits_in_the_feed() -> None:
    manager = EventManager()
    store = DictMemoryStore(event_manager=manager)
    monitored = monitor(manager, logs=False, registry=CollectorRegistry(), port=0)
    with Client(str(monitored.page), "/events?type=*.ended&operation=get") as client:
        store.from_bytes("a", b"1")
        for _ in range(2000):
            store.to_bytes("a")
        monitored.close()
        received = sum(1 for _ in client.messages())

    assert received == 2000


def test_client_that_never_reads_does_not_keep_the_program_from_its_exit() -> None:
    flood = 'for _ in range(300): store.exists("a" * 100_000)'  # 30 MB: more than all buffers on the way to the client
    with python(PROGRAM + f"serve(); sys.stdin.readline()\n{flood}\nwork()") as process:
        page = urlsplit(page_of(process))
        with socket.create_connection((str(page.hostname), page.port or 0)) as client:
            client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(1)
            end(process, "\n\n")
