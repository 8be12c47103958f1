"""Metrics for Prometheus, counted from events."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack

from prometheus_client import REGISTRY, CollectorRegistry

from encore_events.abstract import BaseEventManager
from encore_events.forks import renew_in_child
from encore_events.loggers import get_logger
from encore_storage.processes.cell_directory import CellGroup, Reading, own_members
from encore_storage.processes.cells import Cells
from encore_storage.processes.group import group_named
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.capping import capped_metrics
from encore_storage.subscribers.event_counter import Clock, EventCounter
from encore_storage.subscribers.exposing import SeriesCollector
from encore_storage.subscribers.labels import MAX_VALUES, OpenLabels
from encore_storage.subscribers.series import Series

logger = get_logger("encore_storage")


class MetricsSubscriber(Subscriber):
    """Counts events in the metrics of `encore_storage.subscribers.catalogue.CATALOGUE`.

    Many subscribers may share a registry. The first one makes the metrics, with its `max_stores` and clocks, and the
    others join. Subscribers to the same event manager share one set of listeners, so no event is counted twice. These
    stay connected until the last of the subscribers disconnects. The counts stay even then. A forked child counts from
    zero.

    >>> from encore_events import EventManager
    >>> from encore_storage.stores import DictMemoryStore
    >>> manager, registry = EventManager(), CollectorRegistry()
    >>> with MetricsSubscriber(registry=registry).connect(manager):
    ...     DictMemoryStore(event_manager=manager).from_bytes("greeting", b"hello")
    >>> labels = {"store": "memory", "operation": "set", "direction": "write"}
    >>> registry.get_sample_value("encore_storage_transferred_bytes_total", labels)
    5

    Args:
        registry: where the metrics are exposed.
        group: a group of processes, or its name. Their metrics are added up. A registry belongs to the first group
            that is given.
        max_stores: the number of values of the label store. Beyond it, the label says `_overflow`.
        clock: monotonic seconds, for ages.
        wall_clock: seconds since the epoch, for timestamps.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry = REGISTRY,
        group: CellGroup | str | None = None,
        max_stores: int = MAX_VALUES,
        clock: Clock = time.monotonic,
        wall_clock: Clock = time.time,
    ) -> None:
        super().__init__()
        self._registry = registry
        self._group = None if group is None else _checked_group(group)
        self._max_stores = max_stores
        self._clock = clock
        self._wall_clock = wall_clock

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        collector = collectors.of(
            self._registry, lambda: MetricsCollector(self._max_stores, self._clock, self._wall_clock)
        )
        if self._group is not None:
            collector.join_group(self._group)
        collector.join(event_manager, connection)


class EncoreCollector(SeriesCollector):
    """The metrics of a group of processes, for a registry of any of them.

    Register it with a registry that has no `MetricsSubscriber`, such as one for prometheus_client's multiprocess mode.

    Args:
        group: the group, or its name.
        clock: monotonic seconds, for ages.
    """

    def __init__(self, group: CellGroup | str, *, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self._group = _checked_group(group)
        self._clock = clock

    def __repr__(self) -> str:
        return f"<metrics of Encore, of the group {self._group.name!r}>"

    def series(self) -> Series:
        """Return the series of the group."""
        own = collectors.cells_of(self._group)
        return Series(read(self._group, *own), self._clock(), self._group.name, self._yielder)


class MetricsCollector(SeriesCollector):
    """The metrics of one registry, and the counters that count for it.

    Attributes:
        cells: what they count in.
        group: the group of processes whose metrics are exposed, or None for this process by itself.
    """

    def __init__(self, max_stores: int, clock: Clock, wall_clock: Clock) -> None:
        super().__init__()
        self.cells = Cells(self._move)
        self.group: CellGroup | None = None
        self._is_left_out = False
        self._labels = OpenLabels(self.cells, max_stores)
        self._clock = clock
        self._wall_clock = wall_clock
        self._counters: weakref.WeakValueDictionary[int, EventCounter] = weakref.WeakValueDictionary()
        self._renew()
        renew_in_child(self, MetricsCollector._renew)

    def __repr__(self) -> str:
        return f"<metrics of Encore, event managers observed: {len(self._counters)}>"

    def join(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        """Share the counter of `event_manager` until `connection` is closed."""
        with self._lock:
            number = id(event_manager)
            counter = self._counters.get(number)
            if counter is None:
                counter = self._counters[number] = EventCounter(
                    event_manager, self.cells, self._labels, number, clock=self._clock, wall_clock=self._wall_clock
                )
            counter.users += 1
            connection.callback(self._leave, counter)
        if not counter.is_connected:
            counter.connect()  # without the lock, since tracers run meanwhile

    def join_group(self, group: CellGroup) -> None:
        """Count in the cells of the group, unless the collector belongs to one already."""
        with self._lock:
            if self.group is not None:
                return
            self.group = group
        self._move()

    def leave_group(self, group: CellGroup) -> None:
        """Count in private memory from now on, if the collector belongs to the group."""
        with self._lock:
            if self.group is group:
                self.group = None
                self.cells.close()

    def share_rest(self) -> None:
        """Share the counts for which the disk had no room, as far as it has some now."""
        if self._is_left_out:
            self._move()
        else:
            self.cells.place_rest()

    def series(self) -> Series:
        """Return the series of the group, or of this process."""
        self.share_rest()
        reading = Reading({}, own_members(self.cells)) if self.group is None else read(self.group, self.cells)
        return Series(reading, self._clock(), None if self.group is None else self.group.name, self._yielder)

    def _move(self) -> None:
        """Move the cells to a file of the group, without the lock, since this may log."""
        group = self.group
        directory = None if group is None else group.cells
        if directory is None:
            return
        try:
            self.cells.move_to(directory.create())
        except OSError as error:
            if not self._is_left_out:
                logger.warning("the metrics of this process are missing in those of its group: %s", error)
            self._is_left_out = True
        else:
            self._is_left_out = False
        with self._lock:
            if self.group is not group:  # it was left meanwhile
                self.cells.close()

    def _leave(self, counter: EventCounter) -> None:
        """Disconnect the counter, unless another subscriber shares it."""
        with self._lock:
            counter.users -= 1
            if counter.users:
                return
            counter.is_connected = False
            connection = counter.connection.pop_all()
        connection.close()  # without the lock, too

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._is_left_out = False


def _checked_group(group: CellGroup | str) -> CellGroup:
    """Return the group, by its name if it is one. Raises ValueError for an unusable name, and TypeError."""
    if isinstance(group, str):
        return group_named(group, reduce=capped_metrics)
    if not hasattr(group, "cells"):
        raise TypeError(f"group must be the name of a group of processes, not {group!r}")
    return group


def read(group: CellGroup, *own: Cells) -> Reading:
    """Return the counts of a group, with the cells of this process."""
    directory = group.cells
    return Reading({}, own_members(*own)) if directory is None else directory.read(*own)


class _Collectors:
    """The collector of each registry."""

    def __init__(self) -> None:
        self._collectors: weakref.WeakKeyDictionary[CollectorRegistry, MetricsCollector] = weakref.WeakKeyDictionary()
        self._renew()
        renew_in_child(self, _Collectors._renew)

    def get(self, registry: CollectorRegistry) -> MetricsCollector | None:
        """Return the collector of `registry`, if it has one."""
        return self._collectors.get(registry)

    def of(self, registry: CollectorRegistry, make: Callable[[], MetricsCollector]) -> MetricsCollector:
        """Return the collector of `registry`. The first call makes and registers it."""
        with self._lock:
            collector = self._collectors.get(registry)
            if collector is None:
                collector = self._collectors[registry] = make()
            # New, or forked before another thread of the parent could register it, or unregistered by the program.
            if collector not in registry._collector_to_names:  # noqa: SLF001 (there is no other way)
                registry.register(collector)
            return collector

    def cells_of(self, group: CellGroup) -> list[Cells]:
        """Return the cells of this process that count for a group."""
        return [collector.cells for collector in list(self._collectors.values()) if collector.group is group]

    def _renew(self) -> None:
        """Replace the lock in a forked child, and those of the registries, which a scrape may have held at the fork."""
        self._lock = threading.RLock()
        for reference in self._collectors.keyrefs():
            registry = reference()
            if registry is not None and hasattr(registry, "_lock"):
                registry._lock = threading.RLock()  # type: ignore[assignment]  # noqa: SLF001 (there is no other way)


collectors = _Collectors()
