"""The report of a run: what all its processes did with storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from encore_storage.latencies import Latencies
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.merging import Blocks
from encore_storage.run import blocks
from encore_storage.run.entries import entry_of

Entry = dict[str, Any]
"""An operation that is listed by itself: `time` (its end), store, operation, key, duration, bytes, outcome; of an error
also error, error_type, message."""


@dataclass
class OperationReport:
    """The operations of one kind on one store.

    Attributes:
        name: the operation.
        outcomes: their number, by outcome.
        seconds: their duration in all.
        outer_seconds: the duration of those that are part of no other operation.
        bytes: the number of bytes that they moved.
        moving_seconds: the duration of those that moved bytes.
        retries: the number of their attempts beyond the first ones.
        latencies: their durations.
    """

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    outer_seconds: float = 0
    bytes: int = 0
    moving_seconds: float = 0
    retries: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def count(self) -> int:
        """The number of operations."""
        return self.outcomes.total()

    @property
    def hit_ratio(self) -> float | None:
        """The share of those that found their key, or None if none missed it."""
        hits, misses = self.outcomes["ok"], self.outcomes["miss"]
        return hits / (hits + misses) if misses else None

    @property
    def bytes_per_second(self) -> float | None:
        """The speed while bytes moved, or None if none did."""
        return self.bytes / self.moving_seconds if self.bytes and self.moving_seconds else None

    def add(self, outcome: str, latency: int, values: Sequence[float]) -> None:
        """Add the values of a block."""
        count, seconds, outer, moved, moving, retries = values
        self.outcomes[outcome] += int(count)
        self.latencies[latency] += int(count)
        self.seconds += seconds
        self.outer_seconds += outer
        self.bytes += int(moved)
        self.moving_seconds += moving
        self.retries += int(retries)


@dataclass
class StoreReport:
    """The operations and transactions of one store.

    Attributes:
        name: the name of the store.
        backend: its kind.
        by_operation: its operations.
        transactions: the number of its transactions, by outcome.
        transaction_seconds: their duration in all.
        rollbacks: the number of those that were rolled back, by the place that began them; '' if that isn't known.
    """

    name: str
    backend: str
    by_operation: dict[str, OperationReport] = field(default_factory=dict)
    transactions: Counter[str] = field(default_factory=Counter)
    transaction_seconds: float = 0
    rollbacks: Counter[str] = field(default_factory=Counter)

    @cached_property
    def operations(self) -> list[OperationReport]:
        """Its operations, those that took most time first."""
        return sorted(self.by_operation.values(), key=lambda one: (-one.seconds, one.name))

    @cached_property
    def seconds(self) -> float:
        """The duration of its operations."""
        return sum(one.seconds for one in self.operations)

    def add_transactions(self, outcome: str, place: str, values: Sequence[float]) -> None:
        """Add the values of a block."""
        count, seconds = values
        self.transactions[outcome] += int(count)
        self.transaction_seconds += seconds
        if outcome == "rolled_back":
            self.rollbacks[place] += int(count)


@dataclass
class RunReport:
    """The operations and transactions of all processes of a run.

    Attributes:
        processes: the number of processes that used storage.
        running: the number of those that still run.
        unreadable: the number of files of killed processes that cannot be read.
        stores: the stores, those that took most time first.
        slowest: the slowest operations, the slowest first.
        errors: the last errors, the last one last.
    """

    processes: int
    running: int
    unreadable: int
    stores: list[StoreReport]
    slowest: list[Entry]
    errors: list[Entry]

    @property
    def count(self) -> int:
        """The number of operations."""
        return sum(one.count for store in self.stores for one in store.operations)

    @property
    def seconds(self) -> float:
        """The duration of all operations, without those that are part of others."""
        return sum(one.outer_seconds for store in self.stores for one in store.operations)


def read_report(directory: Path) -> RunReport:
    """Return the report of the run that counts in `directory`."""
    cells = CellDirectory(directory, reduce=blocks.reduced)
    reading = cells.read()
    totals = blocks.reduced(reading.totals())
    return RunReport(
        processes=int(sum(totals.get(blocks.PROCESS, ()))),
        running=reading.processes,
        unreadable=cells.unreadable,
        stores=_stores(totals),
        slowest=[entry for _, entry in sorted(_entries(totals, blocks.SLOWEST), key=_rank, reverse=True)],
        errors=[entry for _, entry in sorted(_entries(totals, blocks.ERROR), key=_rank)],
    )


def _stores(totals: Blocks) -> list[StoreReport]:
    stores = dict[tuple[str, str], StoreReport]()
    for key, values in totals.items():
        match key:
            case ("++++++", blocks.OPERATION, name, backend, operation, outcome, latency):
                store = stores.setdefault((name, backend), StoreReport(name, backend))
                row = store.by_operation.setdefault(operation, OperationReport(operation))
                row.add(outcome, int(latency), values)
            case ("++", blocks.TRANSACTION, name, backend, outcome, place):
                store = stores.setdefault((name, backend), StoreReport(name, backend))
                store.add_transactions(outcome, place, values)
    return sorted(stores.values(), key=lambda store: (-store.seconds, store.name))


def _entries(totals: Blocks, kind: str) -> Iterable[tuple[float, Entry]]:
    for key, values in totals.items():
        if key[1] == kind and (entry := entry_of(values[1:])) is not None:
            yield values[0], entry


def _rank(ranked: tuple[float, Entry]) -> float:
    return ranked[0]
