"""The cost of a scrape, alone, after restarts and with many processes, and what it does to the program."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import mkdtemp
from time import sleep
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from benchmarks.harness import Bench, Snippet, Tail
from benchmarks.metrics import Group
from encore_events import EventManager
from encore_storage.events import StoreProgressEndEvent
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import EncoreCollector, MetricsSubscriber, blocks
from encore_storage.subscribers.metrics import MetricsCollector, collectors
from encore_storage.subscribers.series import Series

_KINDS: Mapping[str, Callable[..., Any]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
STORES = 16  # with about 60 series each
RESTARTS, PROCESSES = 200, 200


def benches() -> Iterator[Bench]:
    """Yield the rows of scrapes."""
    yield Bench("a scrape of 1,000 series that have changed, against generate_latest", of_1000_series, 0.05)
    yield Bench("99.9 % of gets take at most, during scrapes, against without them", during_scrapes, 3)
    yield Bench(f"a scrape after {RESTARTS} restarts of a worker, against after one", after_restarts, 1.2)
    yield Bench(f"a scrape of {PROCESSES} processes, against 0.5 s", of_many_processes, 1)


def of_1000_series() -> tuple[Snippet, Snippet]:
    """Compare the direct rendering of a registry with prometheus_client's own metrics, while all counts change."""
    _, collector = _observed()
    lines = collector.render(openmetrics=False).decode().splitlines()
    assert 900 < sum(not line.startswith("#") for line in lines) < 1_100
    changed = [collector.cells.block(key) for key in collector.cells.values() if key[1] == blocks.OPERATION]

    def change() -> None:
        for block in changed:
            block.values[0] += 1

    less = Snippet("change()", change=change)
    ours = Snippet("change(); render(openmetrics=False)", less=less, change=change, render=collector.render)
    return ours, Snippet("encode(registry)", encode=generate_latest, registry=_native(collector.series()))


def _native(series: Series) -> CollectorRegistry:
    """Return a registry with the same series as metrics of prometheus_client."""
    registry = CollectorRegistry()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no type hints
    for metric, family in series.families:
        options = {"registry": registry, **({"buckets": metric.buckets} if metric.buckets else {})}
        native = _KINDS[metric.type](metric.name, metric.help, metric.labels, **options)
        for labels in family:
            native.labels(*labels)
    return registry


def during_scrapes() -> tuple[Tail, Tail]:
    """Compare the slowest gets while another thread scrapes all the time with those of an idle program."""
    _, collector = _observed()
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    store = DictMemoryStore(name="bench", event_manager=manager)
    store.from_bytes("key", bytes(4096))

    def get() -> None:
        store.get_data("key").read()

    return Tail(get, lambda: _scraping(collector)), Tail(get, nullcontext)


def after_restarts() -> tuple[Snippet, Snippet]:
    """Compare scrapes of four living processes, after many others have ended and after one has."""
    return _after(RESTARTS), _after(1)


def of_many_processes() -> tuple[Snippet, Snippet]:
    """Compare a scrape of many living processes with the time that it may take."""
    directory = CellDirectory(Path(mkdtemp()))
    living = [_process(directory) for _ in range(PROCESSES)]
    collector = EncoreCollector(Group("bench", directory))
    ours = Snippet("render(openmetrics=False)", rounds=5, render=collector.render, living=living)
    return ours, Snippet("sleep(0.5)", rounds=3, sleep=sleep)


def _after(restarts: int) -> Snippet:
    directory = CellDirectory(Path(mkdtemp()))
    living = [_process(directory) for _ in range(4)]
    for _ in range(restarts):
        _process(directory).close()
        directory.fold()
    collector = EncoreCollector(Group("bench", directory))
    return Snippet("render(openmetrics=False)", render=collector.render, living=living)


def _process(directory: CellDirectory) -> Cells:
    """Return cells of one more process, as far as a reader can see."""
    _, collector = _observed(4)
    collector.cells.move_to(directory.create())
    return collector.cells


def _observed(stores: int = STORES) -> tuple[CollectorRegistry, MetricsCollector]:
    """Return a registry with the metrics of gets and sets of some stores."""
    manager, registry = EventManager(), CollectorRegistry()
    MetricsSubscriber(registry=registry).connect(manager)
    for number in range(stores):
        for duration in (0.00005, 0.0003, 0.002):
            manager.emit(
                StoreProgressEndEvent(
                    operation_id=f"{number}",
                    store=f"store {number}",
                    operation="get",
                    direction="read",
                    outcome="ok",
                    bytes=4096,
                    steps=4096,
                    delta=4096,
                    duration=duration,
                )
            )
    collector = collectors.get(registry)
    assert collector is not None
    return registry, collector


@contextmanager
def _scraping(collector: MetricsCollector) -> Iterator[None]:
    """Scrape in another thread all the time."""
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            collector.render(openmetrics=False)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
