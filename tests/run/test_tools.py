"""Programs that run the code of others, with workers: gunicorn, uvicorn, celery, pytest, gevent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.programs import Program as Server
from tests.processes.programs import running, sample, until
from tests.run.programs import SIZE, Counted, Program, counted, expected, variables

WSGI = """
import os
from work import work

def app(environ, start_response):
    work(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

ASGI = """
import os
from work import work

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    work(1)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""

GUNICORN = ("gunicorn", "program:app", "--bind", "127.0.0.1:{port}", "--workers", "2")
UVICORN = ("uvicorn", "program:app", "--port", "{port}", "--workers", "2", "--log-level", "warning")
SERVERS = {
    "gunicorn": (WSGI, GUNICORN),
    "gunicorn gevent": (WSGI, (*GUNICORN, "--worker-class", "gevent")),
    "gunicorn gevent preload": (WSGI, (*GUNICORN, "--worker-class", "gevent", "--preload")),
    "uvicorn": (ASGI, UVICORN),
}


@contextmanager
def serving(directory: Path, source: str, command: tuple[str, ...], *options: str) -> Iterator[Server]:
    """Run a server by `encore run`, with a summary in `summary.json`."""
    Program(directory, {})
    run = ("encore", "run", "--no-summary", "--json", "summary.json", *options)
    with running(directory, source, *run, *command, PATH=variables()["PATH"]) as server:
        yield server


def summary(server: Server, directory: Path) -> Counted:
    """Stop the server, and return what its summary says."""
    server.stop()
    assert "Traceback" not in server.output()
    assert "encore" not in server.output()
    return counted(directory / "summary.json")


@pytest.mark.parametrize(("source", "command"), SERVERS.values(), ids=SERVERS)
def test_server_is_counted(source: str, command: tuple[str, ...], tmp_path: Path) -> None:
    with serving(tmp_path, source, command) as server:
        sent = server.request(40, workers=2)

        assert summary(server, tmp_path) == expected(sent, processes=2)


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "preload"])
def test_server_that_replaces_its_workers_is_counted(options: tuple[str, ...], tmp_path: Path) -> None:
    command = (*GUNICORN, "--max-requests", "15", *options)
    with serving(tmp_path, WSGI, command) as server:
        sent = server.request(60, workers=3)

        found = summary(server, tmp_path)
        assert found == expected(sent, processes=found.processes)
        assert found.processes >= 3


def test_page_and_summary_of_a_preloaded_server_are_exact(tmp_path: Path) -> None:
    command = (*GUNICORN[:-1], "4", "--preload")
    with serving(tmp_path, f"{WSGI}\nwork(1)\n", command, "--port", "{page}") as server:
        sent = server.request(40, workers=4) + 1

        text = server.scrape()
        series = 'transferred_bytes_total{store="memory",operation="set",direction="write"}'
        assert sample(text, series) == sent * SIZE
        assert sample(text, 'operation_duration_seconds_count{store="memory",operation="get",outcome="ok"}') == sent
        until(lambda: server.totals()["operations"] == 2 * sent, server)
        server.stop()
        assert counted(tmp_path / "summary.json") == expected(sent, processes=5)


CELERY = """
from celery import Celery
from work import work
app = Celery("program", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "processed_folder": "processed",
}
app.conf.worker_cancel_long_running_tasks_on_connection_loss = True

@app.task
def task(number):
    work(1)
    with open("done.txt", "a") as done:
        done.write("x")
"""


def test_celery_with_prefork_is_counted(tmp_path: Path) -> None:
    for name in ("queue", "control", "processed"):
        (tmp_path / name).mkdir()
    (tmp_path / "send.py").write_text("import program\nfor number in range(20):\n    program.task.delay(number)\n")
    (tmp_path / "done.txt").write_text("")
    command = ("celery", "-A", "program", "worker", "--pool", "prefork", "-c", "2", "-l", "warning")
    with serving(tmp_path, CELERY, command) as server:
        with running(tmp_path, CELERY, "python", "send.py") as sender:
            assert sender.process.wait(60) == 0, sender.output()
        until(lambda: len((tmp_path / "done.txt").read_text()) == 20, server)

        found = summary(server, tmp_path)
        assert found == expected(20, processes=found.processes)


TESTS = "from work import work\n\ndef test_one():\n    work(1)\n\ndef test_two():\n    work(2)\n"


@pytest.mark.parametrize(("options", "processes"), [((), 1), (("-n", "2", "--dist", "each"), 2)], ids=["", "xdist"])
def test_pytest_is_counted(options: tuple[str, ...], processes: int, tmp_path: Path) -> None:
    program = Program(tmp_path, {"test_program.py": TESTS, "conftest.py": ""})

    result = program.run("pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options, "test_program.py")

    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert program.counted == expected(3 * processes, processes)


@pytest.mark.parametrize("first", ["", "import work\n"], ids=["before the import", "after it"])
def test_program_that_is_patched_by_gevent_is_counted(first: str, tmp_path: Path) -> None:
    source = (
        f"{first}from gevent import monkey\nmonkey.patch_all()\nimport gevent\nfrom work import work\n"
        "gevent.joinall([gevent.spawn(work, 1) for _ in range(3)], raise_error=True)\n"
    )
    program = Program(tmp_path, {"program.py": source})

    result = program.run("program.py")

    assert (result.returncode, result.stderr) == (0, "")
    assert program.counted == expected(3)
