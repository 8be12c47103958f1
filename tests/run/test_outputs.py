"""Logs and recordings of programs with several processes, and programs that use Encore themselves."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from encore_events import EventManager
from encore_storage.events import StoreProgressEndEvent
from encore_storage.recording import replay
from tests.processes.programs import free_port
from tests.run.programs import Program, expected
from tests.run.support import environment, started

CHILDREN = """
import multiprocessing, os, sys
from work import work

def task(number):
    work(1)
    return os.getpid()

if __name__ == "__main__":
    work(1)
    pids = {os.getpid()}
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2, maxtasksperchild=5) as pool:
            pids |= set(pool.map(task, range(20), chunksize=1))
            pool.close()
            pool.join()
    print(len(pids))
"""


def test_log_of_several_processes_has_each_operation_once(tmp_path: Path) -> None:
    program, path = Program(tmp_path, {"program.py": CHILDREN}), tmp_path / "operations.log"

    result = program.run("program.py", options=("--no-summary", "--log-file", path.name))

    assert (result.returncode, result.stderr) == (0, "")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert Counter((entry["operation"], entry["store"], entry["outcome"]) for entry in entries) == {
        ("set", "memory", "ok"): 41,
        ("get", "memory", "ok"): 41,
    }
    assert program.counted == expected(41, processes=int(result.stdout))


def test_log_of_what_is_slow_goes_to_standard_error(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": "from work import work\nwork(3)\n"})

    every = program.run("program.py", options=("--no-summary", "--log-slow", "0"))
    slow = program.run("program.py", options=("--no-summary", "--log-slow", "60"))

    assert (every.stdout, len(every.stderr.splitlines())) == ("", 6)
    assert (slow.stdout, slow.stderr) == ("", "")


def test_recordings_of_several_processes_can_be_replayed(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": CHILDREN})

    result = program.run("program.py", options=("--no-summary", "--record", "events.jsonl"))

    assert (result.returncode, result.stderr) == (0, "")
    manager, summary = EventManager(), Counter[tuple[str | None, str]]()
    manager.connect(StoreProgressEndEvent, lambda event: summary.update([(event.operation, event.outcome)]), weak=False)
    used = [path for path in tmp_path.glob("events*.jsonl") if replay(path, manager, speed=math.inf).events]
    assert summary == {("set", "ok"): 41, ("get", "ok"): 41}
    assert len(used) == int(result.stdout)
    assert tmp_path / "events.jsonl" in used


OWN = """
import os, sys
from encore_events import EventManager, set_event_manager
from encore_storage import monitor, observe, unobserve
import fsspec
from work import work

manager = EventManager()
set_event_manager(manager)
monitor(manager, logs=False, port=int(os.environ["OWN_PORT"]))
work(1)
observe(fsspec.filesystem("memory"))
work(1)
observe(fsspec)
work(1)
unobserve(fsspec)
work(1)
unobserve()
work(1)
from prometheus_client import generate_latest
lines = generate_latest().decode().splitlines()
print(*sorted(line for line in lines if "_bytes_total{" in line or "_duration_seconds_count{" in line), sep="\\n")
"""


def test_program_that_observes_itself_is_counted_once_and_counts_as_alone(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": OWN})

    alone = program.alone("program.py", env={"OWN_PORT": str(free_port())})
    result = program.run("program.py", env={"OWN_PORT": str(free_port())})

    assert (alone.returncode, alone.stderr) == (0, "")
    assert (result.returncode, result.stderr) == (0, "")
    assert "encore_storage_transferred_bytes_total{" in alone.stdout
    assert result.stdout == alone.stdout
    assert program.counted == expected(5)


def test_page_with_a_token_is_opened_by_the_link_that_is_printed(tmp_path: Path) -> None:
    Program(tmp_path, {"program.py": "from work import work\nwork()\ninput()\n"})
    token = {"ENCORE_TOKEN": "s" * 16}
    with started("--port", "0", "program.py", cwd=tmp_path, env=environment(**token)) as runner:
        assert runner.stderr is not None
        lines = [runner.stderr.readline() for _ in range(2)]
        page, link = (re.search(r"http:\S+", line) for line in lines)
        assert page is not None
        assert link is not None, lines
        browser = build_opener(HTTPCookieProcessor())
        with pytest.raises(HTTPError, match="401"):
            browser.open(page[0])
        browser.open(link[0]).close()
        with browser.open(page[0]) as response:
            assert response.status == 200
        with pytest.raises(HTTPError, match="401"):
            build_opener(HTTPCookieProcessor()).open(link[0])
        runner.communicate("\n", timeout=30)

    assert token["ENCORE_TOKEN"] not in "".join(lines)
