"""The number of items in progress and the start of the oldest, in cells."""

from __future__ import annotations

from itertools import islice

from encore_storage.processes.cells import Block, Cells
from encore_storage.subscribers import in_progress
from encore_storage.subscribers.in_progress import InProgress
from encore_storage.subscribers.odd_values import hashable


class InProgressGauge:
    """Items that have started and not ended.

    A start or end is one call on a dict. In private memory, the cells are only worked out for a reader.

    Args:
        cells: the cells to count in.
        block: its cells are the number of items, and the start of the oldest or 0.
    """

    __slots__ = ("_block", "_lock", "_starts")

    def __init__(self, cells: Cells, block: Block) -> None:
        self._lock = cells.lock  # as it is until a fork, which drops this object
        self._block = block
        self._starts = InProgress[float]()

    def fill(self) -> None:
        """Have the cells worked out for each reader from now on. Only one gauge of a block may do this."""
        self._block.measure = self._measure

    def start(self, id: object, now: float) -> None:  # noqa: A002 (the name that events use)
        """Add an item that starts `now`, unless it is in progress. Beyond the limit, the oldest are evicted."""
        starts = self._starts
        starts.setdefault(id if type(id) is str else hashable(id), now)
        if self._block.memory is not None:  # asked last: a block is placed before it is measured
            with self._lock:
                self._publish()
        if len(starts) > in_progress.MOST:
            with self._lock:
                for each in list(islice(starts.copy(), in_progress.MOST // 100 + 1)):
                    self.end(each)

    def end(self, id: object) -> bool:  # noqa: A002 (as above)
        """Remove an item, and return whether there was one. The caller holds the lock of the cells."""
        if self._starts.pop(id if type(id) is str else hashable(id), None) is None:
            return False
        if self._block.memory is not None:
            self._publish()
        return True

    def clear(self) -> None:
        """Remove all items."""
        self._starts.clear()
        with self._lock:
            self._publish()

    def _publish(self) -> None:
        """Write the cells to the file, if there is one. The caller holds the lock of the cells."""
        block, version = self._block, -1
        while version != block.version:  # a signal handler or finalizer may publish while this measures
            version = block.version
            number, oldest = self._measure()
        # From the last comparison on, nothing is called.
        if block.memory is not None:  # else a signal handler has forked, and this is the child
            block.version = version = version + 1
            block.pack_into(block.memory, block.offsets[version & 1], number, oldest, version)

    def _measure(self) -> tuple[int, float]:
        """Return the number of items and the start of the oldest."""
        starts = self._starts
        while True:
            try:
                for oldest in starts.values():
                    return len(starts), oldest
            except RuntimeError:  # another thread has started or ended an item
                continue
            return 0, 0
