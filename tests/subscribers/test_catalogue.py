"""The metrics of the catalogue: names, types, labels, buckets."""

from __future__ import annotations

import dataclasses

import pytest

from encore_storage.subscribers.catalogue import CATALOGUE, COUNTS, OPERATION_DURATION, SECONDS, SIZES, VALUE_SIZE

SPECIFIED = """
| encore_storage_operation_duration_seconds | histogram | store, operation, outcome |
| encore_storage_operations_in_progress | gauge | store, operation |
| encore_storage_operation_oldest_in_progress_seconds | gauge | store, operation |
| encore_storage_operation_errors_total | counter | store, operation, error_type |
| encore_storage_operation_retries_total | counter | store, operation |
| encore_storage_operation_first_byte_seconds | histogram | store, operation |
| encore_storage_operation_items_total | counter | store, operation |
| encore_storage_transferred_bytes_total | counter | store, operation, direction |
| encore_storage_fetched_bytes_total | counter | store |
| encore_storage_value_size_bytes | histogram | store, direction |
| encore_storage_transactions_total | counter | store, outcome |
| encore_storage_transaction_duration_seconds | histogram | store, outcome |
| encore_storage_transactions_in_progress | gauge | store |
| encore_storage_transaction_operations | histogram | store, outcome |
| encore_storage_key_changes_total | counter | store, action |
| encore_storage_last_success_timestamp_seconds | gauge | store, direction |
| encore_storage_store_info | gauge | store, backend |
| encore_events_listener_errors_total | counter | event, listener |
| encore_events_dropped_total | counter | queue, reason |
| encore_storage_label_overflow_total | counter | label |
| encore_processes | gauge | group |
"""


def test_catalogue_has_the_specified_metrics() -> None:
    rows = [f"| {one.name} | {one.type} | {', '.join(one.labels)} |" for one in CATALOGUE]

    assert rows == SPECIFIED.split("\n")[1:-1]


def test_duration_buckets_are_the_specified_ones() -> None:
    edges = ".0001 .0005 .001 .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10 30 60"

    assert OPERATION_DURATION.buckets == SECONDS == tuple(map(float, edges.split()))


def test_size_buckets_range_from_64_bytes_to_5_gibibytes() -> None:
    assert VALUE_SIZE.buckets == SIZES
    assert (SIZES[0], SIZES[-1]) == (64, 5 * 2**30)


@pytest.mark.parametrize("edges", [SECONDS, SIZES, COUNTS], ids=["seconds", "sizes", "counts"])
def test_bucket_edges_ascend(edges: tuple[float, ...]) -> None:
    assert list(edges) == sorted(set(edges))


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_metric_has_help_and_its_name_contains_the_unit(metric: object) -> None:
    fields = dataclasses.asdict(metric)  # type: ignore[call-overload]  # of a dataclass

    assert fields["help"].endswith(".")
    assert fields["unit"] in fields["name"]
    assert bool(fields["buckets"]) == (fields["type"] == "histogram")
    assert fields["name"].endswith("_total") == (fields["type"] == "counter")


def test_metric_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CATALOGUE[0].name = "another"  # type: ignore[misc]  # the point of the test
