"""All metrics of a scenario, scraped over HTTP and parsed as Prometheus does."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser

from encore_events import EventManager, EventsDroppedEvent
from encore_storage.errors import InvalidMetadataError, KeyNotFoundError
from encore_storage.events import StoreDeleteEvent
from encore_storage.monitoring import monitor
from encore_storage.observing import StoreObserver
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.catalogue import CATALOGUE
from tests.subscribers.support import FakeClock, SmallGroup

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NOW = 1_700_000_000.0

EXPECTED = [
    ("operation_duration_seconds_count", {"operation": "set", "outcome": "ok"}, 4),
    ("operation_duration_seconds_count", {"operation": "set", "outcome": "error"}, 1),
    ("operation_duration_seconds_count", {"operation": "get", "outcome": "ok"}, 1),
    ("operation_duration_seconds_count", {"operation": "get", "outcome": "miss"}, 1),
    ("operation_duration_seconds_count", {"operation": "get", "outcome": "error"}, 0),
    ("operation_duration_seconds_bucket", {"operation": "set", "outcome": "ok", "le": "+Inf"}, 4),
    ("operation_duration_seconds_bucket", {"operation": "set", "outcome": "ok", "le": "60.0"}, 4),
    ("operations_in_progress", {"operation": "get"}, 1),
    ("operations_in_progress", {"operation": "set"}, 0),
    ("operation_oldest_in_progress_seconds", {"operation": "get"}, 7),
    ("operation_oldest_in_progress_seconds", {"operation": "set"}, 0),
    ("operation_errors_total", {"operation": "set", "error_type": "invalid"}, 1),
    ("operation_retries_total", {"operation": "list"}, 2),
    ("operation_first_byte_seconds_sum", {"operation": "list"}, 0.25),
    ("operation_items_total", {"operation": "list"}, 20),
    ("fetched_bytes_total", {}, 4096),
    ("transferred_bytes_total", {"operation": "set", "direction": "write"}, 100 + 3 + 1 + 1),
    ("transferred_bytes_total", {"operation": "get", "direction": "read"}, 100),
    ("value_size_bytes_bucket", {"direction": "write", "le": "64.0"}, 3),
    ("value_size_bytes_bucket", {"direction": "write", "le": "256.0"}, 4),
    ("value_size_bytes_count", {"direction": "write"}, 4),
    ("value_size_bytes_sum", {"direction": "write"}, 105),
    ("value_size_bytes_sum", {"direction": "read"}, 100),
    ("transactions_total", {"outcome": "committed"}, 1),
    ("transactions_total", {"outcome": "rolled_back"}, 1),
    ("transactions_total", {"outcome": "closed"}, 0),
    ("transactions_total", {"outcome": "commit_failed"}, 0),
    ("transactions_total", {"outcome": "rollback_failed"}, 0),
    ("transaction_duration_seconds_count", {"outcome": "rolled_back"}, 1),
    ("transactions_in_progress", {}, 1),
    ("transaction_operations_sum", {"outcome": "committed"}, 2),
    ("transaction_operations_bucket", {"outcome": "rolled_back", "le": "1.0"}, 1),
    ("key_changes_total", {"action": "set"}, 2),
    ("key_changes_total", {"action": "update"}, 1),
    ("key_changes_total", {"action": "delete"}, 1),
    ("last_success_timestamp_seconds", {"direction": "read"}, NOW),
    ("last_success_timestamp_seconds", {"direction": "write"}, NOW),
    ("store_info", {"backend": "memory"}, 1),
]
ELSEWHERE = [
    ("encore_events_listener_errors_total", {"event": "StoreDeleteEvent", "listener": f"{__name__}.fail"}, 1),
    ("encore_events_dropped_total", {"queue": "worker", "reason": "exit"}, 3),
    ("encore_storage_label_overflow_total", {"label": "store"}, 2),
    ("encore_storage_label_overflow_total", {"label": "listener"}, 0),
    ("encore_processes", {"group": "shop"}, 1),
    ("encore_storage_operations_in_progress", {"store": "_overflow", "operation": "exists"}, 0),
]


class Scraped(NamedTuple):
    """A parsed response."""

    kind: str
    families: dict[str, Metric]

    def value(self, name: str, labels: dict[str, str]) -> float:
        found = [
            one.value
            for family in self.families.values()
            for one in family.samples
            if (one.name, one.labels) == (name, labels)
        ]
        (value,) = found
        return value


def fail(event: StoreDeleteEvent) -> None:
    raise OSError("a listener's own error")


def run_scenario(manager: EventManager) -> DictMemoryStore:
    """Run each kind of operation on a store named archive, and return the store."""
    store = DictMemoryStore(name="archive", event_manager=manager)
    manager.connect(StoreDeleteEvent, fail)
    with store.transaction("two changes"):
        store.set("a", (io.BytesIO(bytes(100)), {}))
        store.from_bytes("b", b"123")
    assert len(store.to_bytes("a")) == 100
    store.from_bytes("b", b"1")
    with pytest.raises(OSError, match="disk full"), store.transaction("undone"):
        store.from_bytes("c", b"1")
        raise OSError("disk full")
    with pytest.raises(KeyNotFoundError):
        store.to_bytes("nowhere")
    with pytest.raises(InvalidMetadataError):
        store.set("c", (io.BytesIO(b""), {"tags": {1, 2}}))
    store.delete("b")
    with StoreObserver("archive", event_manager=manager).operation("list") as operation:
        operation.items, operation.attempts, operation.first_byte, operation.fetched = 20, 3, 0.25, 4096
    manager.emit(EventsDroppedEvent(queue="worker", reason="exit", count=3))
    DictMemoryStore(name="one too many", event_manager=manager).exists("a")
    return store


def scrape(address: str, accept: str) -> Scraped:
    with urllib.request.urlopen(urllib.request.Request(address, headers={"Accept": accept})) as response:
        kind, text = response.headers["Content-Type"], response.read().decode()
    parse = openmetrics_parser if kind.startswith("application/openmetrics-text") else parser
    return Scraped(kind, {family.name: family for family in parse.text_string_to_metric_families(text)})


@pytest.fixture(scope="module", params=["text/plain", OPENMETRICS], ids=["text", "openmetrics"])
def scraped(request: pytest.FixtureRequest) -> Iterator[Scraped]:
    manager, registry, clock = EventManager(), CollectorRegistry(), FakeClock()
    group = SmallGroup("shop")
    metrics = MetricsSubscriber(registry=registry, group=group, max_stores=1, clock=clock, wall_clock=lambda: NOW)
    with monitor(manager, logs=False, metrics=metrics, port=0, registry=registry) as observed:
        store = run_scenario(manager)
        with store.get_data("a"), store.transaction("still open"):
            clock.advance(7)
            yield scrape(observed.address or "", request.param)


def test_each_metric_is_exposed_as_in_the_catalogue(scraped: Scraped) -> None:
    assert list(scraped.families) == [metric.name.removesuffix("_total") for metric in CATALOGUE]
    for metric in CATALOGUE:
        family = scraped.families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.type, metric.help)
        assert {tuple(sorted({*one.labels} - {"le"})) for one in family.samples} == {tuple(sorted(metric.labels))}
        assert all(one.name.startswith(metric.name) for one in family.samples)


@pytest.mark.parametrize(("name", "labels", "value"), EXPECTED)
def test_metric_of_the_store_has_the_expected_value(
    scraped: Scraped, name: str, labels: dict[str, str], value: float
) -> None:
    assert scraped.value(f"encore_storage_{name}", {"store": "archive", **labels}) == value


@pytest.mark.parametrize(("name", "labels", "value"), ELSEWHERE)
def test_other_metric_has_the_expected_value(scraped: Scraped, name: str, labels: dict[str, str], value: float) -> None:
    assert scraped.value(name, labels) == value


def test_buckets_are_those_of_the_catalogue(scraped: Scraped) -> None:
    for metric in CATALOGUE:
        edges = {
            float(one.labels["le"])
            for one in scraped.families[metric.name.removesuffix("_total")].samples
            if "le" in one.labels
        }
        assert edges == ({*metric.buckets, float("inf")} if metric.buckets else set())


def test_exemplars_exist_in_openmetrics_only(scraped: Scraped) -> None:
    buckets = scraped.families["encore_storage_operation_duration_seconds"].samples
    exemplars = [one.exemplar for one in buckets if one.exemplar is not None]

    assert len(exemplars) == (0 if scraped.kind.startswith("text/plain") else 7)
    assert all(list(one.labels) == ["operation_id"] and float(one.timestamp or 0) == NOW for one in exemplars)
