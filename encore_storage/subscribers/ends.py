"""The blocks of an operation's ends, and the hot path of the metrics: all that one end changes is one block."""

from __future__ import annotations

import math
from bisect import bisect_left

from encore_events.text import text_of
from encore_storage.events import StoreProgressEndEvent
from encore_storage.processes.cells import Block, Cells
from encore_storage.subscribers import blocks, catalogue
from encore_storage.subscribers.catalogue import SECONDS, SIZES
from encore_storage.subscribers.gauges import InProgressGauge
from encore_storage.subscribers.labels import closed
from encore_storage.subscribers.odd_values import MOST, countable

EXEMPLAR_INTERVAL = 1.0  # seconds between two exemplars of a series
_ALL = len(SECONDS) + 1
_SIZED = tuple(_ALL * number for number in range(1, len(SIZES) + 2))
"""The amounts that the bucket of a size adds to that of the duration in the number of a block."""
_WHOLE_VALUES = ("get", "set")


class Ends:
    """The ends of an operation with one store, direction and outcome.

    Args:
        cells: the cells to count in.
        gauge: the operations in progress with the same labels.
        store: the label of the store.
        operation: the operation.
        direction: 'read', 'write' or ''.
        outcome: the outcome.

    Attributes:
        is_plain: whether `count` may count an end, if nothing but its duration and its bytes was measured.
    """

    __slots__ = ("_blocks", "_cells", "_end", "_exemplified", "_has_size", "_labels", "_lock", "_measured", "is_plain")

    def __init__(
        self, cells: Cells, gauge: InProgressGauge, store: str, operation: str, direction: str, outcome: str
    ) -> None:
        self.is_plain = outcome != "error"
        self._cells = cells
        self._lock = cells.lock  # as it is until a fork, which drops this object
        self._end = gauge.end
        self._labels = store, operation, direction, outcome
        self._has_size = outcome == "ok" and direction != "" and operation in _WHOLE_VALUES
        self._exemplified = -math.inf
        self._blocks: dict[int, Block] = {}
        self._measured: dict[tuple[object, object], Block] = {}

    def count(self, event: StoreProgressEndEvent, now: float) -> bool:
        """Count an end without an error and without measures, and return whether it was in progress."""
        duration, delta, size, added = event.duration, event.delta, event.bytes, 0
        if not (0 <= duration < MOST and 0 <= delta < MOST and 0 <= size < MOST):
            return self.count_fully(event, now)
        position = bisect_left(SECONDS, duration)
        if self._has_size and size >= event.steps:
            added = size
            position += _SIZED[bisect_left(SIZES, added)]
        block = self._blocks.get(position) or self._new_block(position)
        if not 0 <= now - self._exemplified < EXEMPLAR_INTERVAL:  # due, or the clock was set back
            self._exemplify(event, duration, position % _ALL, now)
        with self._lock:
            # These lines call nothing: a finalizer may count in the same block inside any call.
            values = block.values
            seconds, moved = values[1] + duration, values[2] + delta
            values[0] = number = values[0] + 1
            values[1] = seconds
            values[2] = moved
            values[3] = now
            values[4] = whole = values[4] + added
            if block.memory is not None:
                block.version = version = block.version + 1
                block.pack_into(block.memory, block.offsets[version & 1], number, seconds, moved, now, whole, version)
            return self._end(event.operation_id)

    def count_fully(self, event: StoreProgressEndEvent, now: float) -> bool:
        """Count any end with all that its event has, and return whether it was in progress."""
        duration, moved, size = countable(event.duration), countable(event.bytes), -1
        position = bisect_left(SECONDS, duration)
        if self._has_size and moved >= event.steps:
            size = bisect_left(SIZES, moved)
        error_type = closed(event.error_type, catalogue.ERROR_TYPES) if self._labels[3] == "error" else ""
        place = position, size, error_type
        amounts = [1, duration, countable(event.delta), 0, moved if size >= 0 else 0]
        if "attempts" in event.__dict__:
            items, first_byte, fetched = event.items, event.first_byte, event.fetched
            retries = max(countable(event.attempts) - 1, 0)
            amounts += (retries, countable(items or 0), countable(first_byte or 0), countable(fetched or 0))
            first = None if first_byte is None else bisect_left(SECONDS, countable(first_byte))
            measures = items is not None, first, fetched is not None
            block = self._measured.get((place, measures)) or self._new_measured(place, measures)
        else:
            block = self._cells.block(blocks.operation(*self._labels, *place))
        if not 0 <= now - self._exemplified < EXEMPLAR_INTERVAL:
            self._exemplify(event, duration, position, now)
        with self._lock:
            block.values[3] = now
            block.add(*amounts)
            return self._end(event.operation_id)

    def _new_block(self, position: int) -> Block:
        size, duration = divmod(position, _ALL)
        block = self._cells.block(blocks.operation(*self._labels, duration, size - 1, ""))
        return self._blocks.setdefault(position, block)

    def _new_measured(self, place: tuple[int, int, str], measures: tuple[bool, int | None, bool]) -> Block:
        block = self._cells.block(blocks.measured(blocks.operation(*self._labels, *place), *measures))
        return self._measured.setdefault((place, measures), block)

    def _exemplify(self, event: StoreProgressEndEvent, duration: float, position: int, now: float) -> None:
        """Keep the end as the latest exemplar of its bucket."""
        store, operation, _, outcome = self._labels
        operation_id = text_of(event.operation_id).encode(errors="replace")
        if len(operation_id) <= blocks.LONGEST_ID:
            self._exemplified = now
            key = blocks.exemplar(store, operation, outcome, position)
            self._cells.set(key, now, duration, *blocks.cells_of_id(operation_id))
