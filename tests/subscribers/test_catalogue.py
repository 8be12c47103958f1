"""The catalogue says what the design's table says, and says it as data."""

from __future__ import annotations

import dataclasses

import pytest

from encore_storage.subscribers.catalogue import CATALOGUE, COUNTS, OPERATION_DURATION, SECONDS, SIZES, VALUE_SIZE

DESIGN = """
| encore_storage_operation_duration_seconds | histogram | store, operation, outcome |
| encore_storage_operations_in_progress | gauge | store, operation |
| encore_storage_operation_oldest_in_progress_seconds | gauge | store, operation |
| encore_storage_operation_errors_total | counter | store, operation, error_type |
| encore_storage_transferred_bytes_total | counter | store, operation, direction |
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
"""


def test_the_catalogue_is_the_table_of_the_design() -> None:
    rows = [f"| {one.name} | {one.type} | {', '.join(one.labels)} |" for one in CATALOGUE]

    assert rows == DESIGN.split("\n")[1:-1]


def test_the_buckets_of_durations_are_those_of_the_design() -> None:
    edges = ".0001 .0005 .001 .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10 30 60"

    assert OPERATION_DURATION.buckets == SECONDS == tuple(map(float, edges.split()))


def test_the_buckets_of_sizes_go_from_64_bytes_to_5_gibibytes() -> None:
    assert VALUE_SIZE.buckets == SIZES
    assert (SIZES[0], SIZES[-1]) == (64, 5 * 2**30)


@pytest.mark.parametrize("edges", [SECONDS, SIZES, COUNTS], ids=["seconds", "sizes", "counts"])
def test_the_edges_of_buckets_ascend(edges: tuple[float, ...]) -> None:
    assert list(edges) == sorted(set(edges))


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_is_explained_and_named_by_its_unit(metric: object) -> None:
    told = dataclasses.asdict(metric)  # type: ignore[call-overload]  # of a dataclass

    assert told["help"].endswith(".")
    assert told["unit"] in told["name"]
    assert bool(told["buckets"]) == (told["type"] == "histogram")
    assert told["name"].endswith("_total") == (told["type"] == "counter")


def test_a_metric_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CATALOGUE[0].name = "another"  # type: ignore[misc]  # which is what is tested
