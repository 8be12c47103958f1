"""Series: counters, histograms, families."""

from __future__ import annotations

from encore_storage.subscribers.catalogue import STORE_INFO, VALUE_SIZE
from encore_storage.subscribers.series import Counter, Family, Gauge, Histogram, histograms


def test_change_within_a_change_is_counted() -> None:
    counter, histogram = Counter(), Histogram((1,))

    with counter._lock, histogram._lock:  # as in a finalizer that runs in the middle of a change
        counter.inc(2)
        histogram.observe(3)

    assert counter.value == 2
    assert histogram.snapshot() == ([0, 1], 3)


def test_snapshot_does_not_change() -> None:
    histogram = Histogram((1,))
    histogram.observe(1)
    counts, total = histogram.snapshot()

    histogram.observe(1)

    assert (counts, total) == ([1, 0], 1)


def test_same_labels_return_the_same_series() -> None:
    family = histograms(VALUE_SIZE)

    assert family.series("archive", "read") is family.series("archive", "read")
    assert family.series("archive", "read") is not family.series("archive", "write")


def test_repr_of_a_family_has_name_and_size() -> None:
    family = Family(STORE_INFO, Gauge)
    family.series("archive", "memory")

    assert repr(family) == "<Family encore_storage_store_info: 1 series>"
