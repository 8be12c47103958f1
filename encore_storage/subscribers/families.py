"""All families of the catalogue, and the rules of their labels: closed sets, and caps on open ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from encore_events.forks import renew_in_child
from encore_storage.subscribers import catalogue
from encore_storage.subscribers.catalogue import OPEN_LABELS, OTHER, OVERFLOW
from encore_storage.subscribers.series import Counter, Family, Gauge, Histogram, counters, gauges, histograms

AnyFamily = Family[Counter] | Family[Gauge] | Family[Histogram]

MAX_VALUES = 200
"""How many values an open label takes, before it says `_overflow`."""


class Families:
    """One family of series for each metric of the catalogue, and what their labels may say.

    Args:
        max_stores: how many values the label store takes.
    """

    def __init__(self, max_stores: int = MAX_VALUES) -> None:
        """Start without any series, but those that count overflows, which are at zero."""
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
        """All families, in the order of the catalogue."""
        return (family for family in vars(self).values() if isinstance(family, Family))

    def label(self, name: str, value: object) -> str:
        """What the open label `name` says for `value`: itself, or '_overflow' past the cap."""
        return self._open[name].admit(str(value))

    def _renew(self) -> None:
        """Go on counting in a forked child, whoever was counting at the fork."""
        for family in self:
            family.renew()
        for label in self._open.values():
            label.renew()


def closed(value: object, values: tuple[str, ...]) -> str:
    """What a label says whose values are the closed set `values`: one of them, or 'other'.

    >>> closed("get", ("get", "set")), closed(None, ("get", "set"))
    ('get', 'other')
    """
    return value if isinstance(value, str) and value in values else OTHER


class _OpenLabel:
    """The values that an open label has taken so far."""

    def __init__(self, limit: int, overflows: Counter) -> None:
        self._limit = limit
        self._overflows = overflows
        self._values: set[str] = set()
        self._lock = threading.RLock()

    def renew(self) -> None:
        self._lock = threading.RLock()

    def admit(self, value: str) -> str:
        with self._lock:
            if value in self._values or len(self._values) < self._limit:
                self._values.add(value)
                return value
        self._overflows.inc()
        return OVERFLOW
