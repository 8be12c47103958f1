"""The number of items in progress and the start of the oldest, in cells."""

from __future__ import annotations

from itertools import islice

from encore_storage.processes.cells import Block
from encore_storage.subscribers import in_progress
from encore_storage.subscribers.in_progress import InProgress
from encore_storage.subscribers.odd_values import hashable


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
        """Add an item that starts `now`, unless it is in progress. Beyond the limit, the oldest are evicted."""
        starts, block = self._starts, self._block
        try:
            if id in starts:
                return
        except TypeError:
            self.start(hashable(id), now)
            return
        # These lines call nothing: a finalizer may start and end items inside any call.
        starts[id] = now
        values = block.values
        values[0] = number = values[0] + 1
        oldest = values[1]
        if number == 1:
            values[1] = oldest = now
        if block.memory is not None:
            block.version = version = block.version + 1
            block.pack_into(block.memory, block.offsets[version & 1], number, oldest, version)
        if number > in_progress.MOST:
            for each in list(islice(starts, in_progress.MOST // 100 + 1)):
                self.end(each)

    def end(self, id: object) -> bool:  # noqa: A002 (as above)
        """Remove an item, and return whether there was one."""
        try:
            started = self._starts.pop(id, None)
        except TypeError:
            started = self._starts.pop(hashable(id), None)
        if started is None:
            return False
        block = self._block
        values = block.values
        oldest = values[1]
        if started == oldest:
            oldest = next(iter(self._starts.values()), 0) if self._starts else 0
        # From here on, as above.
        values[0] = number = values[0] - 1
        values[1] = oldest
        if block.memory is not None:
            block.version = version = block.version + 1
            block.pack_into(block.memory, block.offsets[version & 1], number, oldest, version)
        return True

    def clear(self) -> None:
        """Remove all items."""
        self._starts.clear()
        self._block.set(0, 0)
