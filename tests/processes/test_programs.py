"""Programs of several processes, as people run them: one page, and one scrape that is exact."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.processes.programs import ASGI, MONITORED, SIZE, WSGI, counts_of, expected, running, until

GUNICORN = ("gunicorn", "program:app", "--bind", "127.0.0.1:{port}", "--workers", "2")
UWSGI = (
    *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--module", "program:app", "--master", "--processes", "2"),
    *("--die-on-term", "--worker-reload-mercy", "2"),  # it loses a signal to a worker that just starts
)
SERVERS = {
    "gunicorn": (WSGI, GUNICORN),
    "gunicorn gthread": (WSGI, (*GUNICORN, "--worker-class", "gthread", "--threads", "4")),
    "gunicorn gevent": (WSGI, (*GUNICORN, "--worker-class", "gevent")),
    "gunicorn preload": (WSGI, (*GUNICORN, "--preload")),
    "gunicorn gthread preload": (WSGI, (*GUNICORN, "--preload", "--worker-class", "gthread", "--threads", "4")),
    "gunicorn gevent preload": (WSGI, (*GUNICORN, "--preload", "--worker-class", "gevent")),
    "gunicorn restarts": (WSGI, (*GUNICORN, "--max-requests", "15")),
    "gunicorn preload restarts": (WSGI, (*GUNICORN, "--preload", "--max-requests", "15")),
    "uvicorn": (ASGI, ("uvicorn", "program:app", "--port", "{port}", "--workers", "2", "--log-level", "warning")),
    "uwsgi": (WSGI, (*UWSGI, "--lazy-apps")),
    "uwsgi threads": (WSGI, (*UWSGI, "--lazy-apps", "--threads", "4")),
}


@pytest.mark.parametrize(("source", "command"), SERVERS.values(), ids=SERVERS)
def test_scrape_of_a_server_with_workers_is_exact(source: str, command: tuple[str, ...], tmp_path: Path) -> None:
    with running(tmp_path, source, *command) as program:
        sent = program.request(100, workers=2)

        assert program.counts() == expected(sent)
        assert "Traceback" not in program.output()
        assert program.stop() in {0, -signal.SIGTERM}


WORKER_WITH_A_POOL = WSGI.replace(
    "    work()\n",
    """
    global pool
    pool = pool or ProcessPoolExecutor(2)
    pool.submit(work).result()
""",
).replace(MONITORED, f"{MONITORED}\nfrom concurrent.futures import ProcessPoolExecutor\npool = None\n")


def test_scrape_after_restarts_of_the_only_worker_and_its_pool_is_exact(tmp_path: Path) -> None:
    command = ("gunicorn", "program:app", "--bind", "127.0.0.1:{port}", "--workers", "1", "--max-requests", "10")
    with running(tmp_path, WORKER_WITH_A_POOL, *command) as program:
        sent = program.request(20, workers=2)

        assert program.counts() == expected(sent)
        assert "Traceback" not in program.output()
        assert program.stop() in {0, -signal.SIGTERM}


FLASK = (
    MONITORED
    + """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def answer():
    work()
    return str(os.getpid())

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]), debug=True)
"""
)


def test_flask_with_its_reloader_starts_again_with_one_page(tmp_path: Path) -> None:
    source = FLASK.replace('os.environ["PORT"]', "__import__('sys').argv[1]")
    with running(tmp_path, source, "python", "program.py", "{port}") as program:
        sent = program.request(10)
        (tmp_path / "program.py").write_text(source + "\n# changed")
        until(lambda: "Detected change" in program.output(), program)
        until(lambda: program.output().count("Debugger PIN") == 2, program)
        sent += program.request(10)

        assert len(program.workers) == 2
        assert program.counts() == expected(sent)
        assert "Traceback" not in program.output()


POOL = (
    MONITORED
    + """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor

def task(number):
    work()
    return os.getpid()

if __name__ == "__main__":
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
        pids = set(pool.map(task, range(60)))
    work()
    print("done", len(pids), flush=True)
    sys.stdin.read() or __import__("time").sleep(60)
"""
)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_scrape_of_a_process_pool_is_exact(method: str, tmp_path: Path) -> None:
    with running(tmp_path, POOL, "python", "program.py", method) as program:
        until(lambda: "done" in program.output(), program)

        assert program.counts() == expected(61)
        until(lambda: program.totals()["operations"] == 122, program)
        assert "Traceback" not in program.output()


TREE = (
    MONITORED
    + """
import subprocess, sys, time
depth = int(sys.argv[1])
work()
if depth:
    os.chdir("/")
    command = [sys.executable, os.path.join(sys.path[0], "program.py"), str(depth - 1)]
    children = [subprocess.Popen(command) for _ in "ab"]
    for child in children:
        child.wait()
print("done", depth, flush=True)
if len(sys.argv) > 2:
    time.sleep(60)
"""
)


def test_scrape_of_a_tree_of_subprocesses_is_exact(tmp_path: Path) -> None:
    with running(tmp_path, TREE, "python", "program.py", "3", "waits") as program:
        until(lambda: "done 3" in program.output(), program)

        assert program.counts() == expected(1 + 2 + 4 + 8)
        assert "Traceback" not in program.output()


CELERY = (
    MONITORED
    + """
from celery import Celery
app = Celery("program", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "processed_folder": "processed",
}
app.conf.worker_cancel_long_running_tasks_on_connection_loss = True

@app.task
def task(number):
    work()
    with open("done.txt", "a") as done:
        done.write("x")
"""
)


def test_scrape_of_celery_with_prefork_is_exact(tmp_path: Path) -> None:
    for name in ("queue", "control", "processed"):
        (tmp_path / name).mkdir()
    (tmp_path / "send.py").write_text("import program\nfor number in range(40):\n    program.task.delay(number)\n")
    (tmp_path / "done.txt").write_text("")
    command = ("celery", "-A", "program", "worker", "--pool", "prefork", "-c", "2", "-l", "warning")
    with running(tmp_path, CELERY, *command) as program:
        program.scrape()
        with running(tmp_path, CELERY, "python", "send.py", PAGE_PORT="0") as sender:
            assert sender.process.wait(60) == 0, sender.output()
        until(lambda: len((tmp_path / "done.txt").read_text()) == 40, program)

        assert program.counts() == expected(40)
        assert "Traceback" not in program.output()


MULTIPROCESS = """
import os
from encore_events import get_event_manager
from encore_storage import DictMemoryStore
from encore_storage.subscribers import EncoreCollector, MetricsSubscriber
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

requests = Counter("requests", "Requests that the application has served")
MetricsSubscriber(group="shop").connect(get_event_manager())
store = DictMemoryStore(name="app")

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        registry.register(EncoreCollector("shop"))
        return [generate_latest(registry)]
    requests.inc()
    store.from_bytes("key", bytes(100))
    store.get_data("key").read(-1)
    return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["workers", "preload"])
def test_any_worker_exposes_the_group_beside_multiprocess_mode(options: tuple[str, ...], tmp_path: Path) -> None:
    shared = tmp_path / "multiprocess"
    shared.mkdir()
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(shared), "XDG_RUNTIME_DIR": str(tmp_path)}
    with running(tmp_path, MULTIPROCESS, *GUNICORN, *options, **variables) as program:
        sent = program.request(60, workers=2)

        for _ in range(6):  # from any of the workers
            text = program.answer("/metrics")
            lines = text.splitlines()
            assert counts_of(text) == expected(sent)
            assert f"requests_total {sent}.0" in lines
            assert len(lines) == len(set(lines))


def test_killed_workers_are_counted_and_the_page_returns(tmp_path: Path) -> None:
    with running(tmp_path, WSGI, *GUNICORN) as program:
        sent = program.request(40, workers=2)
        for worker in program.workers:  # one of them serves the page
            os.kill(int(worker), signal.SIGKILL)
        sent += program.request(60)

        assert program.counts() == expected(sent)
        until(lambda: program.totals()["operations"] == 2 * sent, program)  # states are sent four times a second
        totals = program.totals()
        assert (totals["written"], totals["read"]) == (sent * SIZE, sent * SIZE)
