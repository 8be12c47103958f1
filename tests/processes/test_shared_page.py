"""The page that several processes share, and what prevents them from sharing it."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.processes.directory import runtime_directory
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.metrics import EncoreCollector
from tests.forking import run_forking
from tests.processes.programs import MONITORED, Program, running, sample, until

LOGGED = f"import logging\nlogging.basicConfig(level='INFO')\n{MONITORED}"
SETS = 'operation_duration_seconds_count{store="app",operation="set",outcome="ok"}'


@pytest.fixture
def own_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield runtime_directory()


def scrape(address: str | None) -> str:
    assert address is not None
    with urllib.request.urlopen(address) as response:
        return str(response.read().decode())


def test_closed_monitor_leaves_no_file(own_directory: Path) -> None:
    manager, registry = EventManager(), CollectorRegistry()
    with monitor(manager, logs=False, registry=registry, port=0) as observed:
        DictMemoryStore(name="app", event_manager=manager).from_bytes("a", b"1")
        assert len(list(own_directory.iterdir())) == 1
        before = scrape(observed.address)

    assert list(own_directory.iterdir()) == []
    labels = {"store": "app", "operation": "set", "outcome": "ok"}
    assert registry.get_sample_value("encore_storage_operation_duration_seconds_count", labels) == 1
    assert "encore_processes" in before


def test_registry_can_join_another_group_after_the_first(own_directory: Path) -> None:
    manager, registry = EventManager(), CollectorRegistry()
    store = DictMemoryStore(name="app", event_manager=manager)
    for count in (1, 2):
        with monitor(manager, logs=False, registry=registry, port=0) as observed:
            store.from_bytes("a", b"1")
            text = scrape(observed.address)
        assert sample(text, SETS) == count
    assert list(own_directory.iterdir()) == []


def _no_directory(path: Path) -> None:
    path.touch()


def _open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _read_only(path: Path) -> None:
    path.mkdir(mode=0o500)
    path.chmod(0o500)


@pytest.mark.parametrize("plant", [_no_directory, _open_to_others, _read_only])
def test_unusable_directory_is_one_warning_and_the_process_serves_alone(
    plant: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if plant is _read_only and os.geteuid() == 0:
        pytest.skip("root can write to a read-only directory")
    manager = EventManager()
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        plant(Path(path) / "encore-1")  # type: ignore[operator]  # a table of functions
        with monitor(manager, logs=False, registry=CollectorRegistry(), port=0) as observed:
            DictMemoryStore(name="app", event_manager=manager).from_bytes("a", b"1")
            text = scrape(observed.address)

    assert sample(text, SETS) == 1
    [warning] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "other processes of this program do not share its page and metrics" in warning.getMessage()


def test_two_programs_on_one_port_warn_once_and_name_the_first(tmp_path: Path) -> None:
    waiting = f"{MONITORED}\nwork()\nprint('works', flush=True)\nimport time\ntime.sleep(60)"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with running(tmp_path / "first", waiting, "python", "program.py") as first:
        first.scrape()
        port = first.page.rpartition(":")[2].strip("/")
        with running(tmp_path / "second", waiting, "python", "program.py", PAGE_PORT=port) as second:
            until(lambda: "works" in second.output(), second)
            warnings = [line for line in second.output().splitlines() if "no page on port" in line]

        assert len(warnings) == 1
        assert f"'program.py', process {first.process.pid} holds: choose another port" in warnings[0]
        assert first.counts()["sets"] == 1


def test_any_process_exposes_the_metrics_of_a_named_group(own_directory: Path) -> None:
    manager, registry = EventManager(), CollectorRegistry()
    MetricsSubscriber(registry=registry, group="shop").connect(manager)
    DictMemoryStore(name="app", event_manager=manager).from_bytes("a", b"1")
    others = CollectorRegistry()
    others.register(EncoreCollector("shop"))

    for each in (registry, others):
        text = generate_latest(each).decode()
        assert 'operation="set",outcome="ok"' in text
        assert 'encore_processes{group="shop"} 1.0' in text


@pytest.mark.parametrize("kind", ["with hooks", "without hooks"])
def test_forked_child_joins_with_its_first_event_and_leaves(kind: str) -> None:
    printed = run_forking(
        f"""
import json, logging, urllib.request
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from prometheus_client import CollectorRegistry
from tests.forking import *
logging.basicConfig(level="WARNING")
manager = EventManager()
observed = monitor(manager, logs=False, registry=CollectorRegistry(), port=0)
def processes():
    with urllib.request.urlopen(observed.page + "api/processes") as response:
        return [one["state"] for one in json.load(response)["processes"]]
DictMemoryStore(name="parent", event_manager=manager).from_bytes("a", b"1")
def work():
    before = len(processes())
    DictMemoryStore(name="child", event_manager=manager).from_bytes("a", b"1")
    until(lambda: len(processes()) == 2)
    observed.close()
    return before, observed.page
print(forked(work, FORKS[{kind!r}]))
until(lambda: processes() == ["running", "ended"])
with urllib.request.urlopen(observed.address) as response:
    text = response.read().decode()
for store in ("parent", "child"):
    series = f'count{{{{operation="set",outcome="ok",store="{{store}}"}}}}'
    print([float(line.rpartition(" ")[2]) for line in text.splitlines() if series in line])
observed.close()
"""
    )

    assert printed[0].startswith("(1, ")
    assert printed[1:] == ["[1.0]", "[1.0]"]


def test_threads_of_a_child_that_begin_at_once_are_all_counted(tmp_path: Path) -> None:
    printed = run_forking(
        """
import json, logging, threading, urllib.request
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from prometheus_client import CollectorRegistry
from tests.forking import *
logging.basicConfig(level="WARNING")
manager = EventManager()
observed = monitor(manager, logs=False, registry=CollectorRegistry(), port=0)
store = DictMemoryStore(name="child", event_manager=manager)
def written():
    with urllib.request.urlopen(observed.page + "api/operations") as response:
        return json.load(response)["totals"]["written"]
def work():
    start = threading.Barrier(8)
    def write():
        start.wait()
        store.from_bytes("a", b"1")
    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    until(lambda: written() == 8)
    observed.close()
print(forked(work, FORKS["without hooks"]))
with urllib.request.urlopen(observed.address) as response:
    text = response.read().decode()
series = 'count{operation="set",outcome="ok",store="child"}'
print([float(line.rpartition(" ")[2]) for line in text.splitlines() if series in line], written())
observed.close()
""",
        tmp_path,
    )

    assert printed == ["None", "[8.0] 8"]


def test_page_without_a_kept_monitor_has_the_children_and_leaves_no_directory(own_directory: Path) -> None:
    printed = run_forking(
        """
import gc, json, sys, urllib.request
from pathlib import Path
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from prometheus_client import CollectorRegistry
from tests.forking import *
manager = EventManager()
page = monitor(manager, logs=False, registry=CollectorRegistry(), port=0).page  # nobody keeps the monitor
gc.collect()
def processes():
    with urllib.request.urlopen(page + "api/processes") as response:
        return json.load(response)["processes"]
def work():
    store = DictMemoryStore(name="child", event_manager=manager)
    with store.transaction():
        store.from_bytes("a", b"1")
        until(lambda: len(processes()) == 2 and processes()[1]["totals"]["operations"])
        with urllib.request.urlopen(page + "api/operations") as response:
            return [one["store"] for one in json.load(response)["transactions_in_flight"]]
print(forked(work))
""",
        own_directory,
    )

    assert printed == ["['child']"]
    assert list(own_directory.iterdir()) == []


def test_first_event_of_a_child_is_on_the_page(own_directory: Path) -> None:
    printed = run_forking(
        """
import json, os, time, urllib.request
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from prometheus_client import CollectorRegistry
from tests.forking import *
manager = EventManager()
observed = monitor(manager, logs=False, registry=CollectorRegistry(), port=0)
store, seconds = DictMemoryStore(name="app", event_manager=manager), time.time()
store.from_bytes("a", bytes(100))
def get(path):
    return urllib.request.urlopen(observed.page + path)
def work():
    stream = store.get_data("a")
    stream.read(1)
    until(lambda: any(one["process"] == os.getpid() for one in json.load(get("api/operations"))["in_flight"]))
    stream.read(-1)
    with get(f"events?process={os.getpid()}&since={seconds}") as events:
            lines = (line.partition(b": ") for line in events)
            types = (json.loads(data)["type"].rpartition(".")[2] for name, _, data in lines if name == b"data")
            return next(types), next(types)
print(forked(work))
observed.close()
""",
        own_directory,
    )

    assert printed == ["('started', 'ended')"]


def test_idle_serving_process_that_was_killed_is_listed_and_logged(tmp_path: Path) -> None:
    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{first.page}{path}") as response:
            return json.load(response)

    def gap(position: str) -> Any:
        request = urllib.request.Request(f"{first.page}events", headers={"Last-Event-ID": position})
        with urllib.request.urlopen(request) as response:
            return next(json.loads(line[6:]) for line in response if line.startswith(b"data: "))

    waiting = f"{LOGGED}\nprint('waits', flush=True)\nimport time\ntime.sleep(60)"
    with running(tmp_path, waiting, "python", "program.py") as first:
        until(lambda: "waits" in first.output(), first)
        port = first.page.rpartition(":")[2].strip("/")
        with Program(tmp_path, first.command, log_name="second.txt", PAGE_PORT=port) as second:
            until(lambda: "waits" in second.output(), second)
            position = get("api/operations")["last_event_id"]
            first.stop(signal.SIGKILL)
            first.scrape()  # of the second, on the same port
            until(lambda: "has vanished" in second.output(), second)

            found = [one for one in get("api/processes")["processes"] if one["state"] == "vanished"]
            assert [(one["pid"], one["name"]) for one in found] == [(first.process.pid, "program.py")]
            assert gap(position) == {"missed": None, "reason": "handover", "process": second.process.pid}
            line = f"INFO:encore_storage:process {first.process.pid} (program.py) has vanished with nothing in flight"
            assert line in second.output().splitlines()


@pytest.mark.parametrize("given", [5, object()])
def test_group_that_is_no_group_is_refused(given: Any) -> None:
    for make in (lambda: MetricsSubscriber(group=given), lambda: EncoreCollector(given)):
        with pytest.raises(TypeError, match="group must be the name of a group of processes, not "):
            make()
