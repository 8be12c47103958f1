"""The caps on the values of open labels in the sums of many processes, each of which may use names of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from encore_storage.processes.cells import Key
from encore_storage.processes.merging import Blocks, merge

OVERFLOW = "_overflow"
"""The value of a capped label for all values beyond its cap."""

MAX_VALUES = 200
"""The cap of an open label."""

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
