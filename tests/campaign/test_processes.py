"""Groups of processes under kills and many forks."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest

from tests.processes.programs import BIN, ROOT, WSGI, Program, expected, running, until
from tests.processes.test_forks import counted_wrongly
from tests.processes.test_programs import UWSGI

WORKERS = 4
KILLS = 50


@contextlib.contextmanager
def tail(program: Program, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `encore tail` on the page of the program, into a file."""
    with (
        path.open("wb") as output,
        subprocess.Popen([BIN / "encore", "tail", program.page, "--json"], stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def running_processes(program: Program) -> list[dict[str, object]]:
    """Return the running processes as the page lists them, once all workers are back and it knows who was killed."""

    def listed() -> list[dict[str, object]]:
        found = _listed(program)
        living = [each for each in found if Path(f"/proc/{each['pid']}/cmdline").exists()]
        return found if len(found) == len(living) == WORKERS else []

    return until(listed, program)


def _listed(program: Program) -> list[dict[str, object]]:
    try:
        with urllib.request.urlopen(f"{program.page}api/processes", timeout=5) as response:
            return [each for each in json.load(response)["processes"] if each["state"] == "running"]
    except OSError:
        return []


def test_fifty_kills_of_members_lose_nothing_and_the_page_is_back(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = random.Random(1)
    sent, slowest, kills_of_the_serving = 0, 0.0, 0
    command = ("gunicorn", "program:app", "--bind", "127.0.0.1:{port}", "--workers", str(WORKERS))
    with running(tmp_path, WSGI, *command) as program:
        program.scrape()
        with tail(program, tmp_path / "tail.txt"):
            for number in range(KILLS):
                sent += program.request(20)
                processes = running_processes(program)
                serving = [each for each in processes if each["is_serving"]]
                killed = serving[0] if number % 3 == 0 else chosen.choice(processes)
                kills_of_the_serving += killed in serving
                os.kill(int(str(killed["pid"])), signal.SIGKILL)
                began = time.monotonic()
                program.scrape()
                slowest = max(slowest, time.monotonic() - began)
            sent += program.request(20)
            counts = program.counts()
            until(lambda: f'"process":{serving_pid(program)}' in (tmp_path / "tail.txt").read_text(), program)

        output = (tmp_path / "tail.txt").read_text()
    record_property("page back in at most", f"{slowest:.2f} s")

    assert counts == expected(sent)
    assert slowest < 2
    assert kills_of_the_serving >= KILLS // 3
    assert output.count("reconnected") > 1  # several kills may be one loss of connection
    assert "serves the page now: some events may be missing" in output
    assert "the program was restarted" not in output


def serving_pid(program: Program) -> object:
    program.request(20)
    return next((each["pid"] for each in running_processes(program) if each["is_serving"]), None)


@pytest.mark.parametrize("option", ["--lazy-apps", "--py-call-uwsgi-fork-hooks"])
def test_scrape_of_uwsgi_that_restarts_its_workers_is_exact(option: str, tmp_path: Path) -> None:
    restarts = ("--max-requests", "15", "--min-worker-lifetime", "0")
    with running(tmp_path, WSGI, *UWSGI, option, *restarts) as program, ThreadPoolExecutor(2) as scrapes:
        sent = 0
        for _ in range(10):
            found = [scrapes.submit(program.scrape) for _ in range(4)]  # so that threads run when uWSGI forks
            sent += program.request(20)
            wait(found)

        assert program.counts() == expected(sent)
        assert len(program.workers) >= 10
        assert "Traceback" not in program.output()


WORKER = """
import os
from encore_storage import DictMemoryStore, monitor
monitor(logs=False, port=int(os.environ["PAGE_PORT"]), group="attacked")
store, done = DictMemoryStore(name="app"), os.open("done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    store.from_bytes("key", bytes(100))
    os.write(done, b"x")
"""

IDLE = """
import os, time
from encore_storage import monitor
monitor(logs=False, port=int(os.environ["PAGE_PORT"]), group="attacked")
time.sleep(600)
"""


def test_kills_in_the_middle_of_work_lose_no_completed_operation(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.touch()
    (tmp_path / "worker.py").write_text(WORKER)
    with running(tmp_path, IDLE, "python", "program.py") as program:
        program.scrape()
        environment = {**os.environ, "PAGE_PORT": str(urlsplit(program.page).port), "PYTHONPATH": str(ROOT)}
        for _ in range(KILLS):
            enough = done.stat().st_size + 500
            with subprocess.Popen([sys.executable, "worker.py"], cwd=tmp_path, env=environment) as worker:
                until(functools.partial(_is_larger, done, enough), program)
                worker.kill()
        sets = program.counts()["sets"]

    assert done.stat().st_size <= sets <= done.stat().st_size + KILLS  # one of each may have ended without its mark


def _is_larger(path: Path, size: int) -> bool:
    return path.stat().st_size > size


MANY = """
import os, subprocess, sys, time
from encore_storage import DictMemoryStore, monitor

monitor(logs=False, port=int(os.environ["PAGE_PORT"]), group="many")
programs, children, operations = map(int, sys.argv[1:])
for _ in range(programs):
    subprocess.Popen([sys.executable, "program.py", "0", str(children), str(operations)])
store, done = DictMemoryStore(name="app"), os.open("done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(0 if programs else children):
    if os.fork() == 0:
        for _ in range(operations):
            store.from_bytes("key", bytes(100))
            store.get_data("key").read(-1)
        os.write(done, b"%d\\n" % os.getpid())
        break
time.sleep(600)
"""


def test_two_hundred_processes_and_fifty_kills_are_one_exact_and_quick_scrape(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    done = tmp_path / "done"
    done.touch()
    with running(tmp_path, MANY, "python", "program.py", "8", "25", "100") as program:
        for count in range(10, 201, 10):
            until(lambda count=count: len(done.read_text().split()) >= count, program)  # type: ignore[misc]  # a bound value
        pids = [int(pid) for pid in done.read_text().split()]
        assert program.counts() == expected(200 * 100)
        until(lambda: program.totals()["operations"] == 2 * 200 * 100, program)  # the processes are idle
        seconds = [_seconds_of(program.scrape) for _ in range(100)]
        assert _processes(program) == 200 + 8 + 1  # with those that only fork

        serving = _serving(program)
        before = _resident(serving)
        for _ in range(300):
            program.scrape()
        growth = _resident(serving) - before

        for pid in random.Random(1).sample(pids, KILLS):
            os.kill(pid, signal.SIGKILL)
        until(lambda: _processes(program) == 200 + 8 + 1 - KILLS, program)
        assert program.counts() == expected(200 * 100)
        after = [_seconds_of(program.scrape) for _ in range(20)]
        until(lambda: program.totals()["operations"] == 2 * 200 * 100, program)
        assert _serving(program) == serving
    record_property("scrape of 200 processes", f"{median(seconds):.3f} s, at most {max(seconds):.3f} s")
    record_property("after 50 kills", f"{median(after):.3f} s, at most {max(after):.3f} s")
    record_property("growth in 300 scrapes", f"{growth} KiB")

    assert median(seconds) <= 0.5
    assert median(after) <= 0.5
    assert growth < 4096  # the files of the processes, read at each scrape, have 12,800


def _seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _processes(program: Program) -> float:
    found = re.search(r"^encore_processes{.*} (.*)$", program.scrape(), re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def _serving(program: Program) -> int:
    return next(int(str(each["pid"])) for each in _listed(program) if each["is_serving"])


def _resident(pid: int) -> int:
    """Return the memory of a process, in KiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_thousand_forks_under_load() -> None:
    assert counted_wrongly(1000, 600) == ("0.0\n", "")
