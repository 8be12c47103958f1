"""Metrics of operations, counted from events."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage.events import StoreProgressEvent
from encore_storage.observing import StoreObserver
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from tests.subscribers.support import FakeClock, end, sample, samples, start, step

GET = {"store": "archive", "operation": "get"}
READ = {**GET, "direction": "read"}

pytestmark = pytest.mark.usefixtures("metrics")


def in_progress(registry: CollectorRegistry) -> tuple[float | None, float | None]:
    """Return the number of reads in progress and the age of the oldest."""
    return (
        sample(registry, "operations_in_progress", **GET),
        sample(registry, "operation_oldest_in_progress_seconds", **GET),
    )


def exemplar_ids(registry: CollectorRegistry) -> list[str]:
    return [
        one.exemplar.labels["operation_id"]
        for family in registry.collect()
        for one in family.samples
        if one.exemplar is not None
    ]


def test_metrics_ignore_a_veto_by_another_listener(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    manager.connect(StoreProgressEvent, StoreProgressEvent.mark_as_handled, priority=1_000_000)

    store.from_bytes("a", b"123")

    labels = {"store": "archive", "operation": "set"}
    assert sample(registry, "operation_duration_seconds_count", **labels, outcome="ok") == 1
    assert sample(registry, "operations_in_progress", **labels) == 0


def test_bytes_grow_during_a_transfer(manager: EventManager, registry: CollectorRegistry) -> None:
    seen = []
    for event in (start(), step(), step(step=30, delta=20), end(bytes=35, delta=5)):
        manager.emit(event)
        seen.append(sample(registry, "transferred_bytes_total", **READ))

    assert seen == [0, 10, 30, 35]


@pytest.mark.parametrize("direction", [None, "read"])
def test_operation_without_bytes_adds_none(manager: EventManager, registry: CollectorRegistry, direction: str) -> None:
    for event in (start(), step(delta=0, direction=direction), end(bytes=0, delta=0, direction=direction)):
        manager.emit(event)

    assert samples(registry, "transferred_bytes_total") == {("archive", "get", "read"): 0}


def test_bytes_without_a_direction_are_not_counted(manager: EventManager, registry: CollectorRegistry) -> None:
    for event in (start(direction=None), step(direction=None), end(direction=None)):
        manager.emit(event)

    assert samples(registry, "transferred_bytes_total") == {}
    assert samples(registry, "value_size_bytes_count") == {}
    assert samples(registry, "last_success_timestamp_seconds") == {}


def test_series_of_ratios_exist_at_zero_from_the_first_event(
    manager: EventManager, registry: CollectorRegistry
) -> None:
    manager.emit(start())

    for outcome in ("ok", "error"):
        assert sample(registry, "operation_duration_seconds_count", **GET, outcome=outcome) == 0
    assert sample(registry, "transferred_bytes_total", **READ) == 0
    assert sample(registry, "store_info", store="archive", backend="nonetype") == 1


def test_operations_in_progress_and_age_of_the_oldest(
    manager: EventManager, registry: CollectorRegistry, clock: FakeClock
) -> None:
    seen = []
    for event in (start(), start(operation_id="2"), end(), end(operation_id="2")):
        manager.emit(event)
        clock.advance(1)
        seen.append(in_progress(registry))

    assert seen == [(1, 1), (2, 2), (1, 2), (0, 0)]


def test_end_without_start_leaves_gauges_at_zero(manager: EventManager, registry: CollectorRegistry) -> None:
    manager.emit(end())

    assert in_progress(registry) == (0, 0)


def test_repeated_start_or_end_counts_once(manager: EventManager, registry: CollectorRegistry) -> None:
    manager.emit(start())
    manager.emit(start())
    assert in_progress(registry)[0] == 1

    manager.emit(end())
    manager.emit(end())
    assert in_progress(registry)[0] == 0


@pytest.mark.parametrize("outcome", ["ok", "miss", "cancelled"])
def test_only_errors_are_counted_as_errors(manager: EventManager, registry: CollectorRegistry, outcome: str) -> None:
    manager.emit(end(outcome=outcome, error_type="not_found"))

    assert samples(registry, "operation_errors_total") == {}


@pytest.mark.parametrize(("error_type", "label"), [("timeout", "timeout"), ("a custom type", "other"), (None, "other")])
def test_error_type_is_a_closed_set(
    manager: EventManager, registry: CollectorRegistry, error_type: str | None, label: str
) -> None:
    manager.emit(end(outcome="error", error_type=error_type))

    assert samples(registry, "operation_errors_total") == {("archive", "get", label): 1}


@pytest.mark.parametrize(
    ("attributes", "sizes"),
    [
        ({}, 1),
        ({"operation": "set"}, 1),
        ({"steps": 10}, 1),
        ({"steps": 11}, 0),  # closed early
        ({"operation": "get_range"}, 0),
        ({"outcome": "error"}, 0),
        ({"outcome": "cancelled"}, 0),
    ],
)
def test_value_size_is_observed_for_whole_values(
    manager: EventManager, registry: CollectorRegistry, attributes: dict[str, object], sizes: int
) -> None:
    manager.emit(end(**attributes))

    assert sum(samples(registry, "value_size_bytes_count").values()) == sizes


def test_last_success_is_the_time_of_the_last_ok(
    manager: EventManager, registry: CollectorRegistry, wall_clock: FakeClock
) -> None:
    manager.emit(end())
    wall_clock.advance(5)
    manager.emit(end(outcome="error"))
    assert sample(registry, "last_success_timestamp_seconds", store="archive", direction="read") == wall_clock.now - 5

    manager.emit(end())
    assert sample(registry, "last_success_timestamp_seconds", store="archive", direction="read") == wall_clock.now


def test_first_exemplar_is_kept_and_then_one_a_second(
    manager: EventManager, registry: CollectorRegistry, wall_clock: FakeClock
) -> None:
    seen = []
    for operation_id in ("1", "2", "3"):
        manager.emit(end(operation_id=operation_id))
        seen += exemplar_ids(registry)
        wall_clock.advance(0.5)

    assert seen == ["1", "1", "3"]


def test_id_too_long_for_an_exemplar_is_omitted(manager: EventManager, registry: CollectorRegistry) -> None:
    manager.emit(end(operation_id="1" * 101))
    assert exemplar_ids(registry) == []

    manager.emit(end(operation_id="1" * 100))
    assert exemplar_ids(registry) == ["1" * 100]


def test_manual_progress_is_other_of_an_unknown_store(manager: EventManager, registry: CollectorRegistry) -> None:
    with StoreProgressManager(manager) as progress:
        progress(step=10)

    assert sample(registry, "operation_duration_seconds_count", store="unknown", operation="other", outcome="ok") == 1
    assert samples(registry, "store_info") == {}


def test_values_outside_of_the_vocabulary_are_other(manager: EventManager, registry: CollectorRegistry) -> None:
    for event in (start, step, end):
        manager.emit(event(operation="teleport", direction="sideways", outcome="so-so"))

    assert sample(registry, "operations_in_progress", store="archive", operation="other") == 0
    assert (
        sample(registry, "operation_duration_seconds_count", store="archive", operation="other", outcome="other") == 1
    )
    assert sample(registry, "transferred_bytes_total", store="archive", operation="other", direction="other") == 20


def test_duration_on_an_edge_is_in_the_bucket_below(manager: EventManager, registry: CollectorRegistry) -> None:
    for seconds in (0, 0.0001, 0.00011, 60, 61):
        manager.emit(end(duration=seconds))

    counts = [
        sample(registry, "operation_duration_seconds_bucket", **GET, outcome="ok", le=edge)
        for edge in ("0.0001", "0.0005", "30.0", "60.0", "+Inf")
    ]
    assert counts == [2, 3, 3, 4, 5]
    assert sample(registry, "operation_duration_seconds_sum", **GET, outcome="ok") == pytest.approx(121.00021)


def test_disconnect_resets_operations_in_progress(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber
) -> None:
    manager.emit(start())

    metrics.disconnect()

    assert in_progress(registry) == (0, 0)


def test_retries_count_the_attempts_beyond_the_first(manager: EventManager, registry: CollectorRegistry) -> None:
    observer = StoreObserver("s3:invoices", event_manager=manager)
    for attempts in (1, 3, 2):
        with observer.operation("get", "a") as operation:
            operation.attempts = attempts

    assert samples(registry, "operation_retries_total") == {("s3:invoices", "get"): 3}


@pytest.mark.parametrize("measure", ["attempts", "items", "first_byte", "fetched"])
def test_retries_are_zero_where_anything_is_measured(
    manager: EventManager, registry: CollectorRegistry, measure: str
) -> None:
    with StoreObserver("s3:invoices", event_manager=manager).operation("get", "a") as operation:
        setattr(operation, measure, 1)

    assert samples(registry, "operation_retries_total") == {("s3:invoices", "get"): 0}


def test_measures_of_operations_are_counted(manager: EventManager, registry: CollectorRegistry) -> None:
    observer = StoreObserver("s3:invoices", event_manager=manager)
    for items in (0, 3):
        with observer.operation("list") as operation:
            operation.items, operation.first_byte, operation.fetched = items, 0.25, 4096

    assert samples(registry, "operation_items_total") == {("s3:invoices", "list"): 3}
    assert samples(registry, "fetched_bytes_total") == {("s3:invoices",): 8192}
    labels = {"store": "s3:invoices", "operation": "list"}
    assert sample(registry, "operation_first_byte_seconds_sum", **labels) == 0.5
    assert sample(registry, "operation_first_byte_seconds_bucket", le="0.25", **labels) == 2
    assert sample(registry, "operation_first_byte_seconds_bucket", le="0.1", **labels) == 0


def test_stores_have_no_series_of_measures(registry: CollectorRegistry, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    assert store.to_bytes("a")

    for name in ("operation_retries_total", "operation_items_total", "fetched_bytes_total"):
        assert samples(registry, name) == {}
    assert samples(registry, "operation_first_byte_seconds_count") == {}
