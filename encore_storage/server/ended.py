"""The totals of the processes that ended before this one served, from the metrics of their group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from encore_events.loggers import get_logger
from encore_storage.processes.merging import Blocks
from encore_storage.server.history import History, SecondCounts
from encore_storage.subscribers import blocks

logger = get_logger("encore_storage")

_KINDS = (blocks.OPERATION, blocks.MEASURED, blocks.MOVED, blocks.TRANSACTION)


def add_ended(ended: Blocks, history: History) -> None:
    """Add the counts of ended processes to the totals of a history; their seconds are not known.

    Blocks of another version are left out, and their number is logged.
    """
    totals, left_out = defaultdict[str, SecondCounts](SecondCounts), 0
    for key, values in ended.items():
        try:
            _add(totals, values, *key[1:])
        except (LookupError, TypeError, ValueError, OverflowError):
            left_out += 1
    if left_out:
        logger.warning(
            "%d counts of ended processes are missing in the totals of the page: they are malformed", left_out
        )
    for store, counts in totals.items():
        history.add(None, store, counts)


def _add(totals: defaultdict[str, SecondCounts], values: Sequence[float], kind: str, *labels: str) -> None:
    number, *others = map(int, values) if kind in _KINDS else (0,)
    if kind in (blocks.OPERATION, blocks.MEASURED):
        store, _, direction, outcome, _, _, _, *_ = labels
        _add_ends(totals[store], direction, outcome, number, others[1])
    elif kind == blocks.MOVED:
        store, _, direction = labels
        _add_bytes(totals[store], direction, number)
    elif kind == blocks.TRANSACTION:
        store, outcome, _, _ = labels
        totals[store].commits += number * (outcome == "committed")
        totals[store].rollbacks += number * (outcome not in ("committed", "closed"))


def _add_ends(counts: SecondCounts, direction: str, outcome: str, number: int, moved: int) -> None:
    counts.operations += number
    counts.errors += number * (outcome == "error")
    counts.cancelled += number * (outcome == "cancelled")
    _add_bytes(counts, direction, moved)


def _add_bytes(counts: SecondCounts, direction: str, moved: int) -> None:
    counts.read += moved * (direction == "read")
    counts.written += moved * (direction == "write")
