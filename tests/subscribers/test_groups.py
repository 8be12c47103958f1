"""Metrics of a group of processes: on any worker's own page, after forks and restarts, and without a directory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from encore_events import EventManager
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import EncoreCollector, MetricsSubscriber
from encore_storage.subscribers.metrics import collectors
from tests.forking import run_forking
from tests.subscribers.support import SmallGroup, end, sample, start


@pytest.fixture
def group(tmp_path: Path) -> SmallGroup:
    return SmallGroup("shop", CellDirectory(tmp_path))


def sets(registry: CollectorRegistry) -> float | None:
    return sample(registry, "operation_duration_seconds_count", store="archive", operation="set", outcome="ok")


GROUP = """
import os, signal, sys, threading, time
from pathlib import Path
from prometheus_client import CollectorRegistry, generate_latest
from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.merging import is_live
from encore_storage.subscribers import EncoreCollector, MetricsSubscriber
from encore_storage.subscribers.metrics import collectors
from tests.forking import *
from tests.subscribers.support import *

group = SmallGroup("shop", CellDirectory(Path(sys.argv[1])))
manager, registry = EventManager(), CollectorRegistry()
store = DictMemoryStore(name="archive", event_manager=manager)
count = lambda: sample(registry, "operation_duration_seconds_count", store="archive", operation="set", outcome="ok")
processes = lambda: registry.get_sample_value("encore_processes", {"group": "shop"})
"""


def test_children_count_in_the_group(tmp_path: Path) -> None:
    printed = run_forking(
        GROUP
        + """
MetricsSubscriber(registry=registry, group=group).connect(manager)
store.from_bytes("a", b"1")
def work():
    store.from_bytes("b", b"123")
    labels = {"store": "archive", "operation": "set", "direction": "write"}
    return count(), processes(), sample(registry, "transferred_bytes_total", **labels)
print(forked(work))
print(forked(work))
store.from_bytes("a", b"1")
print(count(), processes(), len(group.cells.fold()), count())
""",
        tmp_path,
    )

    assert printed == ["(2.0, 2, 4.0)", "(3.0, 2, 7.0)", "4.0 1 2 4.0"]


def test_operations_in_progress_are_those_of_living_processes(tmp_path: Path) -> None:
    printed = run_forking(
        GROUP
        + """
MetricsSubscriber(registry=registry, group=group).connect(manager)
store.from_bytes("a", b"1")
reading, writing = os.pipe()
child = fork()
if child == 0:
    opened = DictMemoryStore(name="archive", event_manager=manager)
    opened.from_bytes("a", b"1"), opened.to_bytes("a")
    stream = opened.get_data("a")
    os.write(writing, b".")
    signal.pause()
os.read(reading, 1)
time.sleep(0.01)
def gauges():
    labels = {"store": "archive", "operation": "get"}
    age = sample(registry, "operation_oldest_in_progress_seconds", **labels)
    return sample(registry, "operations_in_progress", **labels), 0.01 <= age < 60
print(gauges())
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print(gauges())
(vanished,) = group.cells.fold()
print([key[1:5] for key, values in vanished.blocks.items() if values[0] and is_live(key)])
""",
        tmp_path,
    )

    assert printed == ["(1.0, True)", "(0, False)", "[('in_progress', 'archive', 'get', 'read')]"]


def test_counts_move_to_the_group_that_comes_later(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore, group: SmallGroup
) -> None:
    MetricsSubscriber(registry=registry).connect(manager)
    store.from_bytes("a", b"1")
    MetricsSubscriber(registry=registry, group=group).connect(manager)
    MetricsSubscriber(registry=registry, group=SmallGroup("another")).connect(manager)
    store.from_bytes("a", b"1")

    assert sets(registry) == 2
    another = CollectorRegistry()
    another.register(EncoreCollector(SmallGroup(*group)))
    assert sets(another) == 2
    assert another.get_sample_value("encore_processes", {"group": "shop"}) == 1


def test_collector_exposes_what_the_registry_of_the_subscriber_does(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore, group: SmallGroup
) -> None:
    another = CollectorRegistry()
    another.register(EncoreCollector(group))
    MetricsSubscriber(registry=registry, group=group).connect(manager)
    store.from_bytes("a", b"1")

    assert generate_latest(another) == generate_latest(registry)
    assert repr(EncoreCollector(group)) == "<metrics of Encore, of the group 'shop'>"


def test_group_without_a_directory_exposes_this_process(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    group, another = SmallGroup("alone"), CollectorRegistry()
    MetricsSubscriber(registry=registry, group=group).connect(manager)
    another.register(EncoreCollector(group))
    store.from_bytes("a", b"1")

    assert sets(registry) == sets(another) == 1
    assert registry.get_sample_value("encore_processes", {"group": "alone"}) == 1


def test_directory_that_refuses_files_is_reported_once_and_counting_goes_on(
    manager: EventManager,
    registry: CollectorRegistry,
    store: DictMemoryStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        group = SmallGroup("shop", CellDirectory(tmp_path / "missing"))
        MetricsSubscriber(registry=registry, group=group).connect(manager)
        store.from_bytes("a", b"1")

    assert sets(registry) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_ended_processes_keep_series_of_counts_alone(
    manager: EventManager, registry: CollectorRegistry, group: SmallGroup
) -> None:
    MetricsSubscriber(registry=registry, group=group).connect(manager)
    manager.emit(start())
    manager.emit(end(operation_id="another"))
    collector = collectors.get(registry)
    assert collector is not None
    collector.cells.close()
    another = CollectorRegistry()
    another.register(EncoreCollector(SmallGroup("shop", group.cells)))

    labels = {"store": "archive", "operation": "get"}
    assert sample(another, "operation_duration_seconds_count", **labels, outcome="ok") == 1
    assert sample(another, "operations_in_progress", **labels) == 0
    assert another.get_sample_value("encore_processes", {"group": "shop"}) == 0


def test_emptied_registry_gets_the_metrics_again(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    for _ in range(2):
        for collector in list(registry._collector_to_names):
            registry.unregister(collector)
        with MetricsSubscriber(registry=registry).connect(manager):
            store.from_bytes("a", b"1")

    assert sets(registry) == 2
