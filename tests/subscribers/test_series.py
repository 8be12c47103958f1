"""What the metrics are counted in."""

from __future__ import annotations

from encore_storage.subscribers.catalogue import STORE_INFO, VALUE_SIZE
from encore_storage.subscribers.series import Counter, Histogram, gauges, histograms


def test_what_is_told_in_the_middle_of_a_change_is_counted_too() -> None:
    counter, histogram = Counter(), Histogram((1,))

    with counter._lock, histogram._lock:  # as a garbage collection finds them, in the thread that changes them
        counter.inc(2)
        histogram.observe(3)

    assert counter.value == 2
    assert histogram.snapshot() == ([0, 1], 3)


def test_a_snapshot_stays_as_it_was() -> None:
    histogram = Histogram((1,))
    histogram.observe(1)
    counts, total = histogram.snapshot()

    histogram.observe(1)

    assert (counts, total) == ([1, 0], 1)


def test_the_same_labels_give_the_same_series() -> None:
    family = histograms(VALUE_SIZE)

    assert family.series("archive", "read") is family.series("archive", "read")
    assert family.series("archive", "read") is not family.series("archive", "write")


def test_a_family_says_which_metric_it_is_and_how_large() -> None:
    family = gauges(STORE_INFO)
    family.series("archive", "memory")

    assert repr(family) == "<Family encore_storage_store_info: 1 series>"
