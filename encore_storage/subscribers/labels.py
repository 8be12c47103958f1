"""The rules for labels: closed sets, and caps on the number of values of open labels."""

from __future__ import annotations

import threading

from encore_events.forks import renew_in_child
from encore_events.text import text_of
from encore_storage.processes import capping
from encore_storage.processes.cells import Cells
from encore_storage.subscribers import blocks
from encore_storage.subscribers.catalogue import OPEN_LABELS, OTHER, OVERFLOW

MAX_VALUES = capping.MAX_VALUES  # of an open label; beyond it, the label says `_overflow`


class OpenLabels:
    """The values of the open labels so far, of this process.

    Args:
        cells: where overflows are counted.
        max_stores: the cap on the values of the label store.
    """

    def __init__(self, cells: Cells, max_stores: int) -> None:
        self._cells = cells
        self._limits = dict.fromkeys(OPEN_LABELS, MAX_VALUES) | {"store": max_stores}
        self._renew()
        renew_in_child(self, OpenLabels._renew)

    def label(self, name: str, value: object) -> str:
        """Return the value of the open label `name`: `value` as a string, or '_overflow' beyond the cap."""
        text, values = text_of(value), self._values[name]
        with self._lock:
            if text in values:
                return text
            is_admitted = len(values) < self._limits[name]
            if is_admitted:
                values.add(text)
        if not is_admitted:
            self._cells.add(blocks.overflow(name), 1)
            return OVERFLOW
        if len(values) > MAX_VALUES:
            self._cells.set(blocks.limit(name), self._limits[name])  # for the sums of the group
        return text

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._values = {name: set[str]() for name in OPEN_LABELS}


def closed(value: object, values: tuple[str, ...]) -> str:
    """Return the value of a closed label: `value` if it is one of `values`, otherwise 'other'.

    >>> closed("get", ("get", "set")), closed(None, ("get", "set"))
    ('get', 'other')
    """
    if not isinstance(value, str):
        return OTHER
    text = value if type(value) is str else str.__str__(value)  # calls no method of a program's own class
    return text if text in values else OTHER
