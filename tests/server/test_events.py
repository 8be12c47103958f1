"""The event stream of /events, and how clients resume it."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

import pytest

from encore_events import BaseEvent, EventManager
from encore_events.ids import id_of
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore, KeyNotFoundError
from encore_storage.recording import Recorder, Recording, replay
from encore_storage.server import EventFeed, create_app, ticker
from encore_storage.server import sse as module
from encore_storage.server.query import Position, Query
from tests.server.support import Client, fetch, serving, until

ENDED = "encore.storage.operation.ended"


class DiskFullError(Exception):
    pass


def types(client: Client, count: int) -> list[str]:
    return [message.json["type"] for message in client.take(count)]


def test_stream_starts_with_the_next_event(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("before", b"1")
    until(lambda: fetch(page, "/api/operations").json["totals"]["operations"])

    with Client(page, "/events") as client:
        store.from_bytes("a", b"hello")
        started, ended, changed = client.take(3)

    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert client.retry == 1000
    assert started.json["type"] == "encore.storage.operation.started"
    assert ended.json["data"]["bytes"] == 5
    assert changed.json["type"] == "encore.storage.key.set"
    assert changed.json["data"]["key"] == "a"
    run, _, number = started.id.partition("-")
    assert [ended.id, changed.id] == [f"{run}-{int(number) + 1}", f"{run}-{int(number) + 2}"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "type=encore.storage.transaction.*",
            ["encore.storage.transaction.started", "encore.storage.transaction.ended"],
        ),
        (f"type={ENDED}&operation=get", [ENDED, ENDED]),
        (f"type={ENDED}&outcome=miss", [ENDED]),
        ("outcome=rolled_back&outcome=miss", ["encore.storage.transaction.ended", ENDED]),
        ("type=*.set&type=*.deleted&store=other", ["encore.storage.key.set"]),
    ],
)
def test_stream_filters_by_query(
    page: str, store: DictMemoryStore, manager: EventManager, query: str, expected: list[str]
) -> None:
    with Client(page, f"/events?{query}") as client:
        with pytest.raises(DiskFullError), store.transaction("import"):
            store.from_bytes("a", b"1")
            raise DiskFullError
        DictMemoryStore(name="other", event_manager=manager).from_bytes("b", b"2")
        store.from_bytes("b", b"2")
        store.to_bytes("b")
        with pytest.raises(KeyNotFoundError):
            store.to_bytes("missing")
        manager.emit(BaseEvent(word="last"))
        read = types(client, len(expected))

    assert read == expected


def test_last_event_id_resumes_after_that_event(page: str, store: DictMemoryStore) -> None:
    with Client(page, "/events?type=*.set") as client:
        store.from_bytes("a", b"1")
        last = client.next()
    store.from_bytes("b", b"2")
    store.from_bytes("c", b"3")

    with Client(page, "/events?type=*.set", {"Last-Event-ID": last.id}) as client:
        keys = [message.json["data"]["key"] for message in client.take(2)]

    assert keys == ["b", "c"]


def test_since_a_time_starts_in_the_past(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    middle = time.time()
    store.from_bytes("b", b"2")

    for since, keys in ((f"{middle}", ["b"]), ("2026-01-01T00:00:00Z", ["a", "b"])):
        with Client(page, f"/events?type=*.set&since={since}") as client:
            assert [message.json["data"]["key"] for message in client.take(len(keys))] == keys


def test_event_has_one_id_in_stream_list_and_recording(
    manager: EventManager, page: str, store: DictMemoryStore, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    with Client(page, "/events") as client, Recorder(path).connect(manager):
        store.from_bytes("a", b"1")
        streamed = [message.json["id"] for message in client.take(3)]
    (listed,) = fetch(page, "/api/operations").json["recent"]

    assert [message.id for message in Recording(path)] == streamed
    assert listed["id"] == streamed[1]


def test_replayed_event_keeps_its_id(manager: EventManager, page: str, recorder: EventRecorder, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Recorder(path).connect(original := EventManager()):
        DictMemoryStore(event_manager=original).from_bytes("a", b"1")
    recorded = [message.id for message in Recording(path)]

    with Client(page, "/events") as client:
        replay(path, manager, math.inf)
        assert [message.json["id"] for message in client.take(3)] == recorded
    (listed,) = fetch(page, "/api/operations").json["recent"]

    assert listed["id"] == recorded[1]
    assert [id_of(event) for event in recorder.events] == recorded


def test_since_an_event_id_starts_after_that_event(page: str, store: DictMemoryStore) -> None:
    with Client(page, "/events?type=*.set") as client:
        store.from_bytes("a", b"1")
        store.from_bytes("b", b"2")
        first = client.next()

    with Client(page, f"/events?type=*.set&since={first.json['id']}") as client:
        assert client.next().json["data"]["key"] == "b"
    with Client(page, "/events?type=*.set&since=0123456789abcdef") as client:
        gap, *others = client.take(3)
        assert gap.json == {"missed": None, "reason": "buffer"}
        assert [message.json["data"]["key"] for message in others] == ["a", "b"]


def test_overwritten_events_are_reported_as_a_gap(manager: EventManager) -> None:
    feed = EventFeed(capacity=10).connect(manager)
    with serving(create_app(feed=feed)) as server:
        for number in range(25):
            manager.emit(BaseEvent(number=number))
        until(lambda: feed.ring.last == 25)

        with Client(server.address, "/events", {"Last-Event-ID": feed.position(5)}) as client:
            gap, *others = client.take(11)

    assert gap.event == "gap"
    assert gap.json == {"missed": 10, "reason": "buffer"}
    assert gap.id == feed.position(15)
    assert [message.json["data"]["number"] for message in others] == list(range(15, 25))
    feed.disconnect()


def test_since_a_time_before_the_ring_starts_with_an_unknown_gap(manager: EventManager) -> None:
    feed = EventFeed(capacity=10).connect(manager)
    with serving(create_app(feed=feed)) as server:
        for number in range(25):
            manager.emit(BaseEvent(number=number))
        until(lambda: feed.ring.last == 25)

        with Client(server.address, "/events?since=1000") as client:
            gap, first = client.take(2)

    assert gap.json == {"missed": None, "reason": "buffer"}
    assert first.json["data"]["number"] == 15
    feed.disconnect()


def test_id_of_another_run_is_reported_as_a_restart(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")

    with Client(page, "/events?type=*.set", {"Last-Event-ID": "00000000-7"}) as client:
        gap, changed = client.take(2)

    assert gap.json == {"missed": None, "reason": "restart"}
    assert changed.json["data"]["key"] == "a"


def test_future_id_resumes_with_the_next_event(page: str, store: DictMemoryStore) -> None:
    run = fetch(page, "/api/operations").json["last_event_id"].partition("-")[0]

    with Client(page, "/events?type=*.set", {"Last-Event-ID": f"{run}-999"}) as client:
        store.from_bytes("a", b"1")
        assert client.next().json["data"]["key"] == "a"


def test_silent_stream_sends_heartbeats(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.0)

    with Client(page, "/events?type=nothing") as client:
        line = b""
        while not line.startswith(b":"):
            line = client._response.readline()

    assert line == b": still here\n"


def test_cache_of_shared_messages_is_bounded(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_CACHE", 100_000)
    feed = EventFeed(capacity=1000).connect(manager)
    for number in range(1000):
        manager.emit(BaseEvent(number=number, text="x" * 100))
    until(lambda: feed.ring.last == 1000)
    streams = module.EventStreams(feed, ticker.Ticker(lambda: feed.ring.last))

    async def catch_up(number: int) -> int:
        stream = streams.events(Query(), Position(feed.run, number))
        length = 0
        async for piece in stream:
            length += len(piece)
            if b'"number":999' in piece:
                return length
        return 0

    lengths = [asyncio.run(catch_up(number)) for number in range(20)]

    assert min(lengths) > 200_000
    assert sum(len(piece.text) for piece in streams._cache.values()) < 200_000
    feed.disconnect()


@pytest.mark.parametrize("capacity", [1, 9, 10])
def test_tick_without_events_sends_nothing(capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "IDLE_SECONDS", 0.0)
    feed = EventFeed(capacity=capacity)
    ticks = ticker.Ticker(lambda: feed.ring.last)

    async def listen() -> list[bytes]:
        return [piece async for piece in module.EventStreams(feed, ticks).events(Query(), None)]

    async def run() -> list[bytes]:
        listening = asyncio.create_task(listen())
        for _ in range(4):
            await ticks.next()
        ticks.close()
        return await listening

    assert [piece[:6] for piece in asyncio.run(run())] == [b"retry:"]


def test_slow_client_continues_after_a_gap(manager: EventManager) -> None:
    feed = EventFeed(capacity=500).connect(manager)
    text = "x" * 10_000
    with serving(create_app(feed=feed)) as server, Client(server.address, "/events") as client:
        first_round = 4_000  # 40 MB: more than all buffers on the way to the client
        for number in range(first_round):
            manager.emit(BaseEvent(number=number, text=text))
        until(lambda: feed.ring.last == first_round)
        numbers, missed = [], 0
        for message in client.messages():
            if message.event == "gap":
                missed += message.json["missed"]
                continue
            numbers.append(message.json["data"]["number"])
            if numbers[-1] == first_round - 1:
                break

    assert numbers == sorted(numbers)
    assert missed > 0
    assert len(numbers) + missed == first_round
    feed.disconnect()


def test_closing_the_server_ends_the_streams(manager: EventManager, feed: EventFeed) -> None:
    with serving(create_app(feed=feed)) as server:
        client = Client(server.address, "/events")

    assert list(client.messages()) == []
    client.close()


def test_client_resumes_on_a_restarted_server(manager: EventManager, feed: EventFeed) -> None:
    with serving(create_app(feed=feed)) as server, Client(server.address, "/events") as client:
        manager.emit(BaseEvent(number=1))
        last = client.next()
    manager.emit(BaseEvent(number=2))

    with (
        serving(create_app(feed=feed), port=server.port) as again,
        Client(again.address, "/events", {"Last-Event-ID": last.id}) as client,
    ):
        assert client.next().json["data"]["number"] == 2
