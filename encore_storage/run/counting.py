"""The counting of what a process does with storage, for the summary of the run."""

from __future__ import annotations

import errno
import itertools
import math
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encore_events.forks import renew_in_child
from encore_events.loggers import get_logger
from encore_events.once import Once
from encore_events.text import text_of
from encore_storage.events import StoreEvent, StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.latencies import bucket_of
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Block, Cells, Key
from encore_storage.run import blocks
from encore_storage.run.entries import cells_of, shortened
from encore_storage.subscribers import catalogue
from encore_storage.subscribers.base import Listeners, Subscriber
from encore_storage.subscribers.catalogue import OUTCOMES, OVERFLOW, TRANSACTION_OUTCOMES, UNKNOWN
from encore_storage.subscribers.labels import MAX_VALUES, closed
from encore_storage.subscribers.odd_values import countable, name_of

logger = get_logger("encore_storage")

_LONGEST_NAME = 200  # characters of a store's name, and of a place
_ERROR_INTERVAL = 0.1  # seconds between two errors whose texts are kept
_ERROR_BURST = 1.0  # seconds for which errors may come at once
_GONE = (errno.ENOENT, errno.ENOTDIR)


class RunSummary(Subscriber):
    """Counts operations and transactions in a file that the report of the run reads, also after a kill.

    A process takes part with its first event. It makes its file then, and so does a forked child. If it cannot, it
    counts for itself; a directory that is gone means that the run has ended.

    Args:
        directory: the directory of the run's files.
        clock: monotonic seconds, for the number of errors in a time.
    """

    _error_due: float

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._directory = CellDirectory(directory, reduce=blocks.reduced)
        self._cells = Cells()
        self._reset()
        renew_in_child(self, RunSummary._renew)

    def _listeners(self) -> Listeners:
        return {
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionEndEvent: self._transaction_ended,
        }

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        duration, size, retries = countable(event.duration), countable(event.bytes), countable(event.attempts - 1)
        outer = duration if event.parent_id is None else 0
        moving = duration if size else 0
        attributes = event.store, event.operation, event.outcome, bucket_of(duration)
        try:
            block = self._blocks[attributes]
        except Exception:  # noqa: BLE001 (not kept, or a program's own attributes, whose methods may raise)
            block = self._new_block(event, attributes)
        with self._lock:
            # These lines call nothing: a finalizer may count in the same block inside any call.
            values = block.values
            values[0] = number = values[0] + 1
            values[1] = seconds = values[1] + duration
            values[2] = outers = values[2] + outer
            values[3] = moved = values[3] + size
            values[4] = movings = values[4] + moving
            values[5] = again = values[5] + retries
            if block.memory is not None:
                block.version = version = block.version + 1
                offset = block.offsets[version & 1]
                block.pack_into(block.memory, offset, number, seconds, outers, moved, movings, again, version)
        if duration > self._slow:
            self._keep_slow(event)
        if name_of(event.outcome) == "error":
            self._keep_error(event)

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        outcome = closed(event.outcome, TRANSACTION_OUTCOMES)
        place = "" if outcome != "rolled_back" or event.notes is None else self._place(event.notes)
        block = self._block(blocks.transaction(*self._store(event), outcome, place))
        with self._lock:
            block.add(1, countable(event.duration))

    def _keep_slow(self, event: StoreProgressEndEvent) -> None:
        """Keep an operation instead of the fastest that was kept."""
        cells, durations = cells_of(_entry(event, time.time())), self._durations
        with self._lock:
            position = min(range(blocks.KEPT), key=durations.__getitem__)
            duration = countable(event.duration)
            if duration > durations[position]:
                durations[position] = duration
                self._slow = min(durations)
                self._cells.block(blocks.slowest(self._process, position)).set(duration, *cells)

    def _keep_error(self, event: StoreProgressEndEvent) -> None:
        """Keep an error instead of the oldest that was kept, unless there are too many."""
        now = self._clock()
        due = max(self._error_due, now - _ERROR_BURST)
        if due > now:
            return
        self._error_due = due + _ERROR_INTERVAL
        ended, error = time.time(), event.error
        entry = _entry(event, ended) | {
            "error": None if error is None else type(error).__name__,
            "error_type": None if event.error_type is None else text_of(event.error_type),
            "message": None if error is None else text_of(error).strip().partition("\n")[0],
        }
        cells = cells_of(entry)
        block = self._block(blocks.error(self._process, next(self._errors) % blocks.KEPT))
        with self._lock:
            block.set(ended, *cells)

    def _new_block(self, event: StoreProgressEndEvent, attributes: tuple[str | int | None, ...]) -> Block:
        labels = self._store(event)
        operation, outcome = closed(event.operation, catalogue.OPERATIONS), closed(event.outcome, OUTCOMES)
        block = self._block(blocks.operation(*labels, operation, outcome, bucket_of(countable(event.duration))))
        is_plain = all(type(one) is str for one in attributes[:3])  # others may raise when they are compared
        if labels[0] != OVERFLOW and is_plain and (operation, outcome) == attributes[1:3]:
            self._blocks[attributes] = block  # of closed sets only: there is no end of other names
        return block

    def _store(self, event: StoreEvent) -> tuple[str, str]:
        """Return the name of the event's store, '_overflow' beyond the cap, and its backend."""
        if event.store is None:
            return UNKNOWN, ""
        name = text_of(event.store)
        found = self._stores.get(name)
        if found is not None:
            return found
        if len(self._stores) >= MAX_VALUES:
            return OVERFLOW, ""
        source = event.source
        backend = "" if source is None else getattr(source, "backend", type(source).__name__.lower())
        made = shortened(name, _LONGEST_NAME), shortened(text_of(backend), _LONGEST_NAME)
        return self._stores.setdefault(name, made)

    def _place(self, notes: object) -> str:
        place = shortened(text_of(notes), _LONGEST_NAME)
        if place not in self._places:
            if len(self._places) >= MAX_VALUES:
                return OVERFLOW
            self._places.add(place)
        return place

    def _block(self, key: Key) -> Block:
        if self._joining.take():
            self._join()
        return self._cells.block(key)

    def _join(self) -> None:
        """Count in a file of the directory from now on."""
        try:
            self._cells.move_to(self._directory.create())
        except OSError as error:
            if error.errno not in _GONE:
                logger.warning("the storage operations of this process are missing in the summary: %s", error)
            return
        self._cells.set(blocks.PROCESS, 1)
        self._directory.fold_many()

    def _reset(self) -> None:
        self._lock = self._cells.lock
        self._joining = Once()
        self._process = secrets.token_hex(8)
        self._blocks: dict[tuple[str | int | None, ...], Block] = {}
        self._stores: dict[str, tuple[str, str]] = {}
        self._places: set[str] = set()
        self._durations = [-1.0] * blocks.KEPT
        self._slow = -1.0
        self._errors = itertools.count()
        self._error_due = -math.inf

    def _renew(self) -> object:
        """Drop everything in a forked child, as the cells do."""
        inherited = self._blocks, self._stores, self._places
        self._reset()
        return inherited


def _entry(event: StoreProgressEndEvent, ended: float) -> dict[str, Any]:
    return {
        "time": round(ended, 3),
        "store": UNKNOWN if event.store is None else text_of(event.store),
        "operation": None if event.operation is None else text_of(event.operation),
        "key": None if event.key is None else text_of(event.key),
        "duration": countable(event.duration),
        "bytes": int(countable(event.bytes)),
        "outcome": text_of(event.outcome),
    }
