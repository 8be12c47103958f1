"""The number of items in progress and the start of the oldest, in cells."""

from __future__ import annotations

from encore_storage.processes.cells import Block
from encore_storage.subscribers.in_progress import InProgress


class InProgressGauge:
    """Items that have started and not ended. All methods are called under the lock of the cells.

    Args:
        block: its cells are the number of items, and the start of the oldest or 0.
    """

    __slots__ = ("_block", "_starts")

    def __init__(self, block: Block) -> None:
        self._block = block
        self._starts = InProgress[float]()

    def start(self, id: object, now: float) -> None:  # noqa: A002 (the name that events use)
        """Add an item that started `now`, replacing one with the same id."""
        starts, values = self._starts, self._block.values
        replaced = starts.pop(id, None)
        if replaced is None:
            values[0] += 1
        evicted = len(starts.start(id, now))
        values[0] -= evicted  # no call since the line before: a finalizer may start and end items in any
        if values[0] == 1 or evicted or replaced is not None:
            values[1] = next(iter(starts.values()), 0)
        self._block.publish()

    def end(self, id: object) -> bool:  # noqa: A002 (as above)
        """Remove an item, and return whether there was one."""
        started = self._starts.pop(id, None)
        if started is None:
            return False
        values = self._block.values
        values[0] -= 1
        if started == values[1] or not values[0]:
            values[1] = next(iter(self._starts.values()), 0)
        self._block.publish()
        return True

    def clear(self) -> None:
        """Remove all items."""
        self._starts.clear()
        self._block.values[:] = 0, 0
        self._block.publish()
