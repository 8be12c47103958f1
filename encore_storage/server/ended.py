"""The totals of the processes that ended before this one served, from the metrics of their group."""

from __future__ import annotations

from collections import defaultdict

from encore_storage.processes.merging import Blocks
from encore_storage.server.history import History, SecondCounts
from encore_storage.subscribers import blocks


def add_ended(ended: Blocks, history: History) -> None:
    """Add the counts of ended processes to the totals of a history; their seconds are not known."""
    totals = defaultdict[str, SecondCounts](SecondCounts)
    for (_, kind, *labels), values in ended.items():
        if kind in (blocks.OPERATION, blocks.MEASURED):
            store, _, direction, outcome, *_ = labels
            _add_ends(totals[store], direction, outcome, int(values[0]), int(values[2]))
        elif kind == blocks.MOVED:
            store, _, direction = labels
            _add_bytes(totals[store], direction, int(values[0]))
        elif kind == blocks.TRANSACTION:
            store, outcome, *_ = labels
            totals[store].commits += int(values[0]) * (outcome == "committed")
            totals[store].rollbacks += int(values[0]) * (outcome not in ("committed", "closed"))
    for store, counts in totals.items():
        history.add(None, store, counts)


def _add_ends(counts: SecondCounts, direction: str, outcome: str, number: int, moved: int) -> None:
    counts.operations += number
    counts.errors += number * (outcome == "error")
    counts.cancelled += number * (outcome == "cancelled")
    _add_bytes(counts, direction, moved)


def _add_bytes(counts: SecondCounts, direction: str, moved: int) -> None:
    counts.read += moved * (direction == "read")
    counts.written += moved * (direction == "write")
