"""The caps on the values of open labels in the sums of many processes, each of which may use names of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from encore_storage.processes.cells import Key
from encore_storage.processes.merging import Blocks, merge
from encore_storage.subscribers import blocks
from encore_storage.subscribers.catalogue import OPEN_LABELS, OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES

Positions = Mapping[str, Mapping[int, str]]
"""By the kind of a block: the open labels by their positions in its key."""


def capped(sums: Blocks, positions: Positions, limits: Mapping[str, float] | None = None) -> Blocks:
    """Return the sums with the first values of each open label, and '_overflow' for all later ones.

    Blocks that get the same key are merged, so totals stay exact.

    Args:
        sums: the sums.
        positions: the open labels of the blocks; all others are left as they are.
        limits: the number of values of a label, if it isn't `MAX_VALUES`.
    """
    admitted = defaultdict[str, set[str]](lambda: {OVERFLOW})
    most = defaultdict[str, float](lambda: MAX_VALUES, limits or {})

    def label(name: str, value: str) -> str:
        values = admitted[name]
        if value in values or len(values) <= most[name]:
            values.add(value)
            return value
        return OVERFLOW

    def capped_key(key: Key) -> Key:
        places = positions.get(key[1], {}) if len(key) > 1 else {}
        return tuple(label(places[place], item) if place in places else item for place, item in enumerate(key))

    return merge({capped_key(key): values} for key, values in sums.items())


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
