"""The series of all metrics, made from the blocks that they are counted in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from encore_storage.processes.cell_directory import Reading
from encore_storage.subscribers import blocks, catalogue
from encore_storage.subscribers.capping import capped_totals
from encore_storage.subscribers.catalogue import Metric
from encore_storage.subscribers.yielding import EVERY, Yielder

Labels = tuple[str, ...]


class Exemplar(NamedTuple):
    """An observation with the id of its operation.

    Attributes:
        operation_id: the id.
        value: the observed value.
        timestamp: when it was observed, in seconds since the epoch.
    """

    operation_id: str
    value: float
    timestamp: float


class Histogram:
    """The observations of one series.

    Attributes:
        counts: the number of observations in each bucket, not cumulative, infinity last.
        total: their sum.
        exemplars: the cells of a bucket's latest exemplar, by the position of the bucket.
    """

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.counts: list[float] = [0] * (buckets + 1)
        self.total: float = 0
        self.exemplars: dict[int, Sequence[float]] = {}

    def exemplar(self, position: int) -> Exemplar:
        """Return the exemplar of a bucket that has one."""
        timestamp, value, *cells = self.exemplars[position]
        return Exemplar(blocks.id_of_cells(cells), value, timestamp)


class Histograms(dict[Labels, Histogram]):
    """All series of a histogram, each made on first use."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._buckets = len(metric.buckets)

    def __missing__(self, labels: Labels) -> Histogram:
        made = self[labels] = Histogram(self._buckets)
        return made


class Numbers(defaultdict[Labels, float]):
    """All series of a counter or gauge, each made at zero on first use."""

    def __init__(self) -> None:
        super().__init__(int)


class Series:
    """All series of the catalogue, as of one reading.

    Blocks that it doesn't know, such as those of another version, are left out.

    Args:
        reading: the counts of all processes.
        now: monotonic seconds, for ages.
        group: the name of the group, or None for a process by itself.
        yielder: that of the last time, if there was one.

    Attributes:
        families: all metrics and their series, in the order of the catalogue.
        yielder: lets other threads run while the series are made and rendered.
    """

    def __init__(self, reading: Reading, now: float, group: str | None, yielder: Yielder | None = None) -> None:
        self.families: list[tuple[Metric, Histograms | Numbers]] = []
        self._durations = self._histograms(catalogue.OPERATION_DURATION)
        self._in_progress = self._numbers(catalogue.OPERATIONS_IN_PROGRESS)
        self._oldest = self._numbers(catalogue.OPERATION_OLDEST)
        self._errors = self._numbers(catalogue.OPERATION_ERRORS)
        self._retries = self._numbers(catalogue.OPERATION_RETRIES)
        self._first_bytes = self._histograms(catalogue.FIRST_BYTE)
        self._items = self._numbers(catalogue.OPERATION_ITEMS)
        self._transferred = self._numbers(catalogue.TRANSFERRED_BYTES)
        self._fetched = self._numbers(catalogue.FETCHED_BYTES)
        self._sizes = self._histograms(catalogue.VALUE_SIZE)
        self._transactions = self._numbers(catalogue.TRANSACTIONS)
        self._transaction_durations = self._histograms(catalogue.TRANSACTION_DURATION)
        self._transactions_in_progress = self._numbers(catalogue.TRANSACTIONS_IN_PROGRESS)
        self._transaction_operations = self._histograms(catalogue.TRANSACTION_OPERATIONS)
        self._key_changes = self._numbers(catalogue.KEY_CHANGES)
        self._last_success = self._numbers(catalogue.LAST_SUCCESS)
        self._store_info = self._numbers(catalogue.STORE_INFO)
        self._listener_errors = self._numbers(catalogue.LISTENER_ERRORS)
        self._dropped = self._numbers(catalogue.DROPPED)
        self._overflows = self._numbers(catalogue.LABEL_OVERFLOW)
        self._processes = self._numbers(catalogue.PROCESSES)
        self.yielder = Yielder() if yielder is None else yielder
        self.yielder.start()
        self._now = now
        self._known = set[tuple[str, str, str]]()
        self._add(reading)
        for label in catalogue.OPEN_LABELS:
            self._overflows[label,] += 0
        if group is not None:
            self._processes[group,] = reading.processes

    def _histograms(self, metric: Metric) -> Histograms:
        made = Histograms(metric)
        self.families.append((metric, made))
        return made

    def _numbers(self, metric: Metric) -> Numbers:
        made = Numbers()
        self.families.append((metric, made))
        return made

    def _add(self, reading: Reading) -> None:
        kinds: Mapping[str, Callable[..., None]] = {
            blocks.OPERATION: self._add_operation,
            blocks.MEASURED: self._add_measured,
            blocks.MOVED: self._add_moved,
            blocks.IN_PROGRESS: self._add_in_progress,
            blocks.TRANSACTION: self._add_transaction,
            blocks.TRANSACTION_IN_PROGRESS: self._add_transaction_in_progress,
            blocks.EXEMPLAR: self._add_exemplar,
            blocks.KEY_CHANGE: _adding_to(self._key_changes, catalogue.KEY_CHANGES),
            blocks.STORE: _adding_to(self._store_info, catalogue.STORE_INFO),
            blocks.LISTENER_ERROR: _adding_to(self._listener_errors, catalogue.LISTENER_ERRORS),
            blocks.DROPPED: _adding_to(self._dropped, catalogue.DROPPED),
            blocks.OVERFLOW: _adding_to(self._overflows, catalogue.LABEL_OVERFLOW),
        }
        pause = self.yielder.pause
        for number, (key, values) in enumerate(capped_totals(reading.ended, reading.totals()).items()):
            try:
                kinds[key[1]](values, *key[2:])
            except (LookupError, TypeError, ValueError, OverflowError):  # a block of another version
                continue
            if not number % EVERY:
                pause()

    def _add_operation(self, values: Sequence[float], *labels: str) -> None:
        ends = _ends(labels)
        number, seconds, moved, last, whole = values
        durations = self._durations[ends.durations]
        durations.counts[ends.duration] += number
        durations.total += seconds
        if ends.transferred is not None:
            self._transferred[ends.transferred] += moved
        if ends.success is not None and last > self._last_success[ends.success]:
            self._last_success[ends.success] = last
        if ends.sizes is not None:
            sizes = self._sizes[ends.sizes]
            sizes.counts[ends.size] += number
            sizes.total += whole
        if ends.errors is not None:
            self._errors[ends.errors] += number
        if ends.exposed not in self._known:
            self._expose(*ends.exposed)

    def _add_measured(self, values: Sequence[float], *labels: str) -> None:
        *ended, has_items, first_byte, has_fetched = labels
        store, name, *_ = ended
        number, *_, retries, items, seconds, fetched = values
        position = _position(first_byte, catalogue.FIRST_BYTE) if first_byte else None
        self._add_operation(values[:-4], *ended)
        self._retries[store, name] += retries
        if has_items:
            self._items[store, name] += items
        if position is not None:
            first_bytes = self._first_bytes[store, name]
            first_bytes.counts[position] += number
            first_bytes.total += seconds
        if has_fetched:
            self._fetched[store,] += fetched

    def _add_moved(self, values: Sequence[float], store: str, name: str, direction: str) -> None:
        self._transferred[store, name, direction] += values[0]

    def _add_in_progress(self, values: Sequence[float], store: str, name: str, direction: str, _counter: str) -> None:
        number, oldest = values
        if (store, name, direction) not in self._known:
            self._expose(store, name, direction)
        self._in_progress[store, name] += number
        if oldest and number:
            self._oldest[store, name] = max(self._oldest[store, name], self._now - oldest)

    def _add_transaction(
        self, values: Sequence[float], store: str, outcome: str, duration: str, operations: str
    ) -> None:
        number, seconds, together = values
        places = (
            _position(duration, catalogue.TRANSACTION_DURATION),
            _position(operations, catalogue.TRANSACTION_OPERATIONS),
        )
        self._expose_transactions(store)
        self._transactions[store, outcome] += number
        durations = self._transaction_durations[store, outcome]
        durations.counts[places[0]] += number
        durations.total += seconds
        sizes = self._transaction_operations[store, outcome]
        sizes.counts[places[1]] += number
        sizes.total += together

    def _add_transaction_in_progress(self, values: Sequence[float], store: str, _counter: str) -> None:
        self._expose_transactions(store)
        self._transactions_in_progress[store,] += values[0]

    def _add_exemplar(self, values: Sequence[float], store: str, name: str, outcome: str, duration: str) -> None:
        if len(values) != blocks.EXEMPLAR_CELLS:
            raise ValueError("it has another number of cells")
        position = _position(duration, catalogue.OPERATION_DURATION)
        self._durations[store, name, outcome].exemplars[position] = values

    def _expose(self, store: str, name: str, direction: str) -> None:
        """Make the series that ratios and alerts need at zero."""
        self._known.add((store, name, direction))
        for outcome in ("ok", "error"):
            self._durations[store, name, outcome].total += 0
        if direction:
            self._transferred[store, name, direction] += 0
        self._in_progress[store, name] += 0
        self._oldest[store, name] += 0

    def _expose_transactions(self, store: str) -> None:
        for outcome in catalogue.TRANSACTION_OUTCOMES:
            self._transactions[store, outcome] += 0
        self._transactions_in_progress[store,] += 0


def _adding_to(numbers: Numbers, metric: Metric) -> Callable[..., None]:
    """Return a function that adds the cell of a block to the series of its labels."""

    def add(values: Sequence[float], *labels: str) -> None:
        if len(labels) != len(metric.labels):
            raise ValueError("it has another number of labels")
        numbers[labels] += values[0]

    return add


def _position(text: str, metric: Metric) -> int:
    """Return the position of a bucket. Raises ValueError if there is none."""
    position = int(text)
    if not 0 <= position <= len(metric.buckets):
        raise ValueError(f"there is no bucket {position}")
    return position


class _Ends(NamedTuple):
    """The series that a block of ends changes, and the positions of its buckets."""

    exposed: tuple[str, str, str]
    durations: Labels
    duration: int
    transferred: Labels | None
    success: Labels | None
    sizes: Labels | None
    size: int
    errors: Labels | None


@lru_cache(maxsize=16_384)  # it takes longer than all the rest
def _ends(labels: Labels) -> _Ends:
    store, name, direction, outcome, duration, size, error_type = labels
    return _Ends(
        exposed=(store, name, direction),
        durations=(store, name, outcome),
        duration=_position(duration, catalogue.OPERATION_DURATION),
        transferred=(store, name, direction) if direction else None,
        success=(store, direction) if direction and outcome == "ok" else None,
        sizes=(store, direction) if size != "-1" else None,
        size=-1 if size == "-1" else _position(size, catalogue.VALUE_SIZE),
        errors=(store, name, error_type) if error_type else None,
    )
