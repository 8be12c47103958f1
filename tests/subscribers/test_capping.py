"""The caps on the labels of ended processes, each of which may use names of its own."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.processes import ended
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from encore_storage.processes.merging import Blocks, merge
from encore_storage.run import blocks as run_blocks
from encore_storage.subscribers import EncoreCollector, MetricsSubscriber, blocks
from encore_storage.subscribers.capping import capped_metrics
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES
from encore_storage.subscribers.metrics import collectors
from tests.subscribers.support import SmallGroup, end, samples

PROCESSES = 10_000
TOGETHER = 100  # processes that are added to the sums at once


def process(number: int) -> Blocks:
    """Return the counts of one process, which names its store and a listener by its process id."""
    cells, store = Cells(), f"cache-{number}"
    cells.add(blocks.operation(store, "get", "read", "ok", 3, 2, ""), 1, 0.5, 10, 0, 10)
    cells.set(blocks.exemplar(store, "get", "ok", 3), number, 0.5, *blocks.cells_of_id(b"%d" % number))
    cells.add(blocks.moved(store, "get", "read"), number)
    cells.set(blocks.store(store, "memory"), 1)
    cells.add(blocks.listener_error("BaseEvent", f"listener-{number}"), 1)
    cells.add(blocks.dropped("feed", "full"), 2)
    return cells.values()


def ended_sums() -> Blocks:
    sums: Blocks = {}
    for first in range(0, PROCESSES, TOGETHER):
        sums = capped_metrics(merge([sums, *map(process, range(first, first + TOGETHER))]))
    return sums


def by_kind(sums: Blocks, kind: str) -> Blocks:
    return {key: values for key, values in sums.items() if key[1] == kind}


def test_sums_of_many_processes_are_bounded_and_exact(tmp_path: Path) -> None:
    sums = ended_sums()
    ended.write(tmp_path, sums, ())

    operations, moved = by_kind(sums, blocks.OPERATION), by_kind(sums, blocks.MOVED)
    assert [sum(cells) for cells in zip(*operations.values(), strict=True)][:3] == [10_000, 5_000, 100_000]
    assert sum(cells[0] for cells in moved.values()) == sum(range(PROCESSES))
    assert sum(cells[0] for cells in by_kind(sums, blocks.LISTENER_ERROR).values()) == PROCESSES
    assert by_kind(sums, blocks.DROPPED) == {blocks.dropped("feed", "full"): [2 * PROCESSES]}
    assert operations[blocks.operation(OVERFLOW, "get", "read", "ok", 3, 2, "")][0] == PROCESSES - MAX_VALUES
    assert {key[2] for key in moved} == {*(f"cache-{number}" for number in range(MAX_VALUES)), OVERFLOW}
    assert len(by_kind(sums, blocks.STORE)) == MAX_VALUES
    assert sums[blocks.exemplar(OVERFLOW, "get", "ok", 3)][0] == PROCESSES - 1
    assert (tmp_path / ended.NAME).stat().st_size < 200_000


def test_file_of_sums_is_capped_and_living_processes_follow(tmp_path: Path) -> None:
    directory = CellDirectory(tmp_path, reduce=capped_metrics)
    ended.write(tmp_path, capped_metrics(merge(map(process, range(MAX_VALUES)))), ())
    group, registry, others = SmallGroup("shop", directory), CollectorRegistry(), CollectorRegistry()
    manager = EventManager()
    MetricsSubscriber(registry=registry, group=group).connect(manager)
    others.register(EncoreCollector(group))
    for name in ("cache-7", "late"):
        DictMemoryStore(name=name, event_manager=manager).exists("key")

    def operations() -> dict[str, float]:
        counts = samples(others, "operation_duration_seconds_count")
        return {labels[0]: count for labels, count in counts.items() if labels[1:] == ("exists", "ok")}

    before = operations()
    collector = collectors.get(registry)
    assert collector is not None
    collector.leave_group(group)
    directory.fold()

    assert before == operations() == {"cache-7": 1, OVERFLOW: 1}
    assert len(samples(others, "store_info")) == MAX_VALUES


def test_group_has_the_highest_cap_of_its_processes() -> None:
    manager, registry = EventManager(), CollectorRegistry()
    MetricsSubscriber(registry=registry, max_stores=300).connect(manager)
    for number in range(310):
        manager.emit(end(store=f"tenant-{number}"))
    collector = collectors.get(registry)
    assert collector is not None

    sums = capped_metrics(merge([collector.cells.values(), *map(process, range(50))]))

    stores = {key[2] for key in by_kind(sums, blocks.OPERATION)}
    assert stores == {*(f"tenant-{number}" for number in range(300)), OVERFLOW}


def test_sums_below_the_cap_are_unchanged() -> None:
    sums = merge(map(process, range(MAX_VALUES)))

    assert capped_metrics(sums) == sums


def test_sums_of_a_run_are_bounded_and_exact() -> None:
    parts = [
        {
            run_blocks.operation(f"cache-{number}", "memory", "get", "ok", 7): [1, 0.5, 0.5, 10, 0.5, 0],
            run_blocks.transaction("cache-0", "memory", "rolled_back", f"import {number}"): [1, 0.5],
        }
        for number in range(1_000)
    ]

    sums = run_blocks.reduced(merge(parts))

    for kind in (run_blocks.OPERATION, run_blocks.TRANSACTION):
        found = by_kind(sums, kind)
        assert len(found) == MAX_VALUES + 1
        assert sum(cells[0] for cells in found.values()) == 1_000
