"""The blocks of cells that a run is counted in: one for all that an event changes.

Each function returns the key of a block. Its first item has the rule of each cell (see `merging` of
`encore_storage.processes`), its second is the kind of the block.
"""

from __future__ import annotations

from collections import defaultdict

from encore_storage.processes.capping import capped
from encore_storage.processes.cells import Key
from encore_storage.processes.merging import Blocks
from encore_storage.run.entries import CELLS

PROCESS: Key = ("+", "process")
"""The number of processes that counted something."""

OPERATION = "operation"
TRANSACTION = "transaction"
SLOWEST = "slowest"
ERROR = "error"

_OPEN = {OPERATION: {2: "store", 3: "backend"}, TRANSACTION: {2: "store", 3: "backend", 5: "place"}}

KEPT = 5
"""The number of the slowest operations and of the last errors that are kept."""


def operation(store: str, backend: str, name: str, outcome: str, latency: int) -> Key:
    """Return the key of ended operations.

    Its cells: number, seconds, seconds of those that are part of no other operation, bytes, seconds of those that moved
    bytes, retries.

    Args:
        store: the name of the store.
        backend: its kind.
        name: the operation.
        outcome: the outcome.
        latency: the bucket of the duration.
    """
    return "++++++", OPERATION, store, backend, name, outcome, str(latency)


def transaction(store: str, backend: str, outcome: str, place: str) -> Key:
    """Return the key of ended transactions: number, seconds. `place` says what was rolled back."""
    return "++", TRANSACTION, store, backend, outcome, place


def slowest(process: str, position: int) -> Key:
    """Return the key of one of the slowest operations: its duration, and the cells of its entry."""
    return "=" * (CELLS + 1), SLOWEST, process, str(position)


def error(process: str, position: int) -> Key:
    """Return the key of one of the last errors: its time, and the cells of its entry."""
    return "=" * (CELLS + 1), ERROR, process, str(position)


def reduced(blocks: Blocks) -> Blocks:
    """Return the blocks with only the slowest operations, the last errors, and as many names as a process may have."""
    ranked = defaultdict[str, list[tuple[float, Key]]](list)
    for key, values in blocks.items():
        if key[1] in (SLOWEST, ERROR):
            ranked[key[1]].append((values[0], key))
    left = {key for each in ranked.values() for _, key in sorted(each, reverse=True)[KEPT:]}
    return capped({key: values for key, values in blocks.items() if key not in left}, _OPEN)
