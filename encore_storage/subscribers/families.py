"""All families of the catalogue, and the rules for their labels: closed sets, and caps on open ones."""

from __future__ import annotations

from collections.abc import Iterator

from encore_events.forks import renew_in_child
from encore_storage.subscribers import catalogue
from encore_storage.subscribers.catalogue import OPEN_LABELS, OTHER, OVERFLOW
from encore_storage.subscribers.series import Counter, Family, Gauge, Histogram, Locked, histograms

AnyFamily = Family[Counter] | Family[Gauge] | Family[Histogram]

MAX_VALUES = 200  # of an open label; beyond it, the label says `_overflow`


class Families:
    """One family of series for each metric of the catalogue. `max_stores` caps the values of the label store."""

    def __init__(self, max_stores: int = MAX_VALUES) -> None:
        self.durations = histograms(catalogue.OPERATION_DURATION)
        self.in_progress = Family(catalogue.OPERATIONS_IN_PROGRESS, Gauge)
        self.oldest = Family(catalogue.OPERATION_OLDEST, Gauge)
        self.errors = Family(catalogue.OPERATION_ERRORS, Counter)
        self.retries = Family(catalogue.OPERATION_RETRIES, Counter)
        self.first_bytes = histograms(catalogue.FIRST_BYTE)
        self.operation_items = Family(catalogue.OPERATION_ITEMS, Counter)
        self.transferred = Family(catalogue.TRANSFERRED_BYTES, Counter)
        self.fetched = Family(catalogue.FETCHED_BYTES, Counter)
        self.sizes = histograms(catalogue.VALUE_SIZE)
        self.transactions = Family(catalogue.TRANSACTIONS, Counter)
        self.transaction_durations = histograms(catalogue.TRANSACTION_DURATION)
        self.transactions_in_progress = Family(catalogue.TRANSACTIONS_IN_PROGRESS, Gauge)
        self.transaction_operations = histograms(catalogue.TRANSACTION_OPERATIONS)
        self.key_changes = Family(catalogue.KEY_CHANGES, Counter)
        self.last_success = Family(catalogue.LAST_SUCCESS, Gauge)
        self.store_info = Family(catalogue.STORE_INFO, Gauge)
        self.listener_errors = Family(catalogue.LISTENER_ERRORS, Counter)
        self.dropped = Family(catalogue.DROPPED, Counter)
        self.overflows = Family(catalogue.LABEL_OVERFLOW, Counter)
        self._open = {name: _OpenLabel(MAX_VALUES, self.overflows.series(name)) for name in OPEN_LABELS}
        self._open["store"] = _OpenLabel(max_stores, self.overflows.series("store"))
        renew_in_child(self, Families._renew)

    def __iter__(self) -> Iterator[AnyFamily]:
        """Iterate over all families in the order of the catalogue."""
        return (family for family in vars(self).values() if isinstance(family, Family))

    def label(self, name: str, value: object) -> str:
        """Return the value of the open label `name`: `value` as a string, or '_overflow' beyond the cap."""
        return self._open[name].admit(str(value))

    def _renew(self) -> None:
        for renewed in (*self, *self._open.values()):
            renewed.renew()


def closed(value: object, values: tuple[str, ...]) -> str:
    """Return the value of a closed label: `value` if it is one of `values`, otherwise 'other'.

    >>> closed("get", ("get", "set")), closed(None, ("get", "set"))
    ('get', 'other')
    """
    return value if isinstance(value, str) and value in values else OTHER


class _OpenLabel(Locked):
    """The values of an open label so far."""

    def __init__(self, limit: int, overflows: Counter) -> None:
        super().__init__()
        self._limit = limit
        self._overflows = overflows
        self._values: set[str] = set()

    def admit(self, value: str) -> str:
        with self._lock:
            if value in self._values or len(self._values) < self._limit:
                self._values.add(value)
                return value
        self._overflows.inc()
        return OVERFLOW
