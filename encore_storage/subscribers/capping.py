"""The caps on the labels of metrics in the sums of many processes."""

from __future__ import annotations

from collections import defaultdict

from encore_storage.processes.capping import MAX_VALUES, OVERFLOW, capped
from encore_storage.processes.merging import Blocks
from encore_storage.subscribers import blocks
from encore_storage.subscribers.catalogue import OPEN_LABELS


def capped_metrics(sums: Blocks) -> Blocks:
    """Return the sums of metrics with capped labels. The cap of a label is the highest of those that were summed."""
    found = capped(sums, blocks.OPEN, _limits(sums))
    return {key: values for key, values in found.items() if key[1:3] != (blocks.STORE, OVERFLOW)}


def capped_totals(ended: Blocks, totals: Blocks) -> Blocks:
    """Return the totals of ended and living processes, those of the former first, as they will be after all have ended.

    As long as there is room in the sums of the ended processes, the living ones have it.
    """
    limits = _limits(totals)
    if len(ended) < min(limits.values()):
        return totals
    values = defaultdict[str, set[str]](set)
    for key in ended:
        for place, name in blocks.OPEN.get("".join(key[1:2]), {}).items():
            values[name].update(key[place : place + 1])
    is_full = any(len(values[name] - {OVERFLOW}) >= limit for name, limit in limits.items())
    return capped_metrics(totals) if is_full else totals


def _limits(sums: Blocks) -> dict[str, float]:
    return {name: max((MAX_VALUES, *sums.get(blocks.limit(name), ()))) for name in OPEN_LABELS}
