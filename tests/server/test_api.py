"""The API: /api/operations, the summaries, the metrics and the health."""

from __future__ import annotations

import io
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from encore_events import BaseEvent, EventManager
from encore_storage import DictMemoryStore
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.server import EventFeed, create_app
from tests.server.support import Client, fetch, serving, until


class DiskFullError(Exception):
    pass


def operations(page: str, count: int, query: str = "") -> Any:
    """Return the response once the server has counted that many operations."""
    until(lambda: fetch(page, "/api/operations").json["totals"]["operations"] >= count)
    return fetch(page, f"/api/operations{query}").json


def test_operations_lists_totals_and_recent_operations_newest_first(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"hello")
    store.to_bytes("a")
    response = operations(page, 2)

    assert response["totals"] == {
        "operations": 2,
        "cancelled": 0,
        "errors": 0,
        "read": 5,
        "written": 5,
        "commits": 0,
        "rollbacks": 0,
        "missed": 0,
    }
    assert [one["operation"] for one in response["recent"]] == ["get", "set"]
    assert response["stores"] == ["archive"]
    assert response["failures"] == []


def test_operations_lists_failures_with_their_errors(page: str, store: DictMemoryStore) -> None:
    with pytest.raises(DiskFullError), store.transaction("import"):
        store.from_bytes("a", b"1")
        raise DiskFullError("the disk is full")
    with pytest.raises(TypeError):
        store.set_metadata("a", {"bad": object()})
    response = operations(page, 2)
    failed, rolled_back = response["failures"]

    assert rolled_back["what"] == "transaction"
    assert rolled_back["outcome"] == "rolled_back"
    assert rolled_back["notes"] == "import"
    assert rolled_back["error"]["message"] == "the disk is full"
    assert failed["operation"] == "set_metadata"
    assert failed["error_type"] == "invalid"


def test_operations_lists_what_is_in_flight(page: str, store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    store.from_bytes("a", b"x" * 1000)
    with store.transaction("import"), store.get_data("a") as data:
        data.read(10)
        data.read(10)
        response = fetch(page, "/api/operations").json
        (one,) = response["in_flight"]
        (transaction,) = response["transactions_in_flight"]

    assert (one["operation"], one["key"], one["expected"], one["direction"]) == ("get", "a", 1000, "read")
    assert one["age"] >= 0
    assert transaction["notes"] == "import"
    assert transaction["transaction_id"] == one["transaction_id"]
    assert fetch(page, "/api/operations").json["in_flight"] == []
    assert fetch(page, "/api/operations").json["transactions_in_flight"] == []


def test_operations_filters_by_store(page: str, store: DictMemoryStore, manager: EventManager) -> None:
    store.from_bytes("a", b"1")
    DictMemoryStore(name="other", event_manager=manager).from_bytes("b", b"22")

    response = operations(page, 2, "?store=other")

    assert response["totals"]["written"] == 2
    assert [one["store"] for one in response["recent"]] == ["other"]
    assert response["stores"] == ["archive", "other"]


def test_operations_lists_the_last_minute_by_store_and_operation(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"hello")
    store.to_bytes("a")
    with pytest.raises(KeyError):
        store.to_bytes("b")
    with store.get_data("a") as data:
        data.read(1)
        until(lambda: fetch(page, "/api/operations").json["totals"]["operations"] == 3)
        response = fetch(page, "/api/operations").json

    get, written = response["operations"]
    assert (get["store"], get["operation"], get["misses"], get["hit_ratio"]) == ("archive", "get", 1, 0.5)
    assert (get["in_flight"], written["operation"], written["in_flight"]) == (1, "set", 0)
    assert written["bytes_per_second"] == pytest.approx(5 * written["rate"])
    assert response["operations_omitted"] == 0
    assert fetch(page, "/api/operations?store=other").json["operations"] == []


def test_summary_stream_starts_with_the_history_and_continues_each_second(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"hello")
    operations(page, 1)

    with Client(page, "/events?view=summary") as client:
        history, *summaries = client.take(3)
        read = [history.json, *(message.json for message in summaries)]
        store.to_bytes("a")
        while "get" not in [one["operation"] for one in read[-1]["recent"]]:
            read.append(client.next().json)
        while sum(sum(one["seconds"]["operations"]) for one in read) < 2:
            read.append(client.next().json)

    assert history.event == "history"
    assert {message.event for message in summaries} == {"summary"}
    assert history.json["totals"]["written"] == 5
    assert [one["operation"] for one in history.json["recent"]] == ["set"]
    assert read[-1]["totals"]["operations"] == 2
    times = [time for one in read for time in one["seconds"]["time"]]
    assert times == sorted(set(times))


def test_summary_filters_by_store(page: str, store: DictMemoryStore, manager: EventManager) -> None:
    store.from_bytes("a", b"hello")
    DictMemoryStore(name="other", event_manager=manager).from_bytes("b", b"22")
    operations(page, 2)

    with Client(page, "/events?view=summary&store=other") as client:
        history = client.next().json

    assert history["totals"]["written"] == 2
    assert [one["key"] for one in history["recent"]] == ["b"]


def test_resumed_summary_starts_with_a_gap(manager: EventManager) -> None:
    feed = EventFeed(capacity=10).connect(manager)
    store = DictMemoryStore(event_manager=manager)
    with serving(create_app(feed=feed)) as server:
        with Client(server.address, "/events?view=summary") as client:
            last = client.next()
        for number in range(20):
            store.from_bytes(f"{number}", b"1")
        until(lambda: feed.ring.last == 60)
        with Client(server.address, "/events?view=summary", {"Last-Event-ID": last.id}) as client:
            gap, history = client.take(2)

    assert gap.json == {"missed": 50, "reason": "buffer"}
    assert history.json["totals"]["operations"] == 20
    feed.disconnect()


def test_resumed_summary_after_a_restart_has_one_gap(manager: EventManager) -> None:
    feed = EventFeed(capacity=10).connect(manager)
    for number in range(20):
        manager.emit(BaseEvent(number=number))
    until(lambda: feed.ring.last == 20)
    with (
        serving(create_app(feed=feed)) as server,
        Client(server.address, "/events?view=summary", {"Last-Event-ID": "00000000-7"}) as client,
    ):
        gap, history = client.take(2)

    assert gap.json == {"missed": None, "reason": "restart"}
    assert history.event == "history"
    feed.disconnect()


def test_metrics_are_served_in_both_formats(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"hello")

    plain = fetch(page, "/metrics")
    modern = fetch(page, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert plain.headers["content-type"].startswith("text/plain")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    for families in (parse_text(plain.text), parse_openmetrics(modern.text)):  # type: ignore[no-untyped-call]  # the library's
        samples = [sample for family in families for sample in family.samples]
        moved = [one for one in samples if one.name == "encore_storage_transferred_bytes_total"]
        assert [one.value for one in moved] == [5]


def test_metrics_can_be_restricted_by_name(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"hello")

    text = fetch(page, "/metrics?name[]=encore_storage_store_info").text

    assert {family.name for family in parse_text(text)} == {"encore_storage_store_info"}


def test_health_is_ok(page: str) -> None:
    assert fetch(page, "/healthz").json == {"status": "ok"}


def test_hidden_keys_appear_nowhere(manager: EventManager) -> None:
    feed = EventFeed(keys=False).connect(manager)
    store = DictMemoryStore(event_manager=manager)
    with serving(create_app(feed=feed)) as server, Client(server.address, "/events") as client:
        with pytest.raises(KeyError), store.transaction("secret notes"):
            store.from_bytes("secret/key", b"1")
            store.to_bytes("secret/missing")
        until(lambda: feed.own.activity.failures.total)
        store.from_bytes("secret/key", b"1")
        with store.transaction("secret notes"), store.get_data("secret/key"):
            operations_text = fetch(server.address, "/api/operations").text
        events = "".join(message.data for message in client.take(6))

    assert "secret" not in operations_text + events
    feed.disconnect()


def test_failing_redaction_hides_the_key_and_is_logged_once(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    def redact(key: str) -> str:
        raise RuntimeError(key)

    feed = EventFeed(keys=redact).connect(manager)
    DictMemoryStore(event_manager=manager).set("secret", (io.BytesIO(b"1"), {}))
    with serving(create_app(feed=feed)) as server:
        until(lambda: feed.ring.last == 3)
        response = fetch(server.address, "/api/operations").json

    assert response["recent"][0]["key"] == "(hidden)"
    assert [record.name for record in caplog.records] == ["encore_storage"]
    feed.disconnect()
