"""All families of the catalogue, and the rules for their labels: closed sets, and caps on open ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from encore_events.forks import renew_in_child
from encore_storage.subscribers import catalogue
from encore_storage.subscribers.catalogue import OPEN_LABELS, OTHER, OVERFLOW
from encore_storage.subscribers.series import Counter, Family, Gauge, Histogram, counters, gauges, histograms

AnyFamily = Family[Counter] | Family[Gauge] | Family[Histogram]

MAX_VALUES = 200
"""The number of values of an open label. Beyond it, the label says `_overflow`."""


class Families:
    """One family of series for each metric of the catalogue.

    Args:
        max_stores: the cap on the values of the label store.
    """

    def __init__(self, max_stores: int = MAX_VALUES) -> None:
        self.durations = histograms(catalogue.OPERATION_DURATION)
        self.in_progress = gauges(catalogue.OPERATIONS_IN_PROGRESS)
        self.oldest = gauges(catalogue.OPERATION_OLDEST)
        self.errors = counters(catalogue.OPERATION_ERRORS)
        self.transferred = counters(catalogue.TRANSFERRED_BYTES)
        self.sizes = histograms(catalogue.VALUE_SIZE)
        self.transactions = counters(catalogue.TRANSACTIONS)
        self.transaction_durations = histograms(catalogue.TRANSACTION_DURATION)
        self.transactions_in_progress = gauges(catalogue.TRANSACTIONS_IN_PROGRESS)
        self.transaction_operations = histograms(catalogue.TRANSACTION_OPERATIONS)
        self.key_changes = counters(catalogue.KEY_CHANGES)
        self.last_success = gauges(catalogue.LAST_SUCCESS)
        self.store_info = gauges(catalogue.STORE_INFO)
        self.listener_errors = counters(catalogue.LISTENER_ERRORS)
        self.dropped = counters(catalogue.DROPPED)
        self.overflows = counters(catalogue.LABEL_OVERFLOW)
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


class _OpenLabel:
    """The values of an open label so far."""

    def __init__(self, limit: int, overflows: Counter) -> None:
        self._limit = limit
        self._overflows = overflows
        self._values: set[str] = set()
        self.renew()

    def renew(self) -> None:
        self._lock = threading.RLock()

    def admit(self, value: str) -> str:
        with self._lock:
            if value in self._values or len(self._values) < self._limit:
                self._values.add(value)
                return value
        self._overflows.inc()
        return OVERFLOW
