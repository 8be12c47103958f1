"""The processes of a group, as the server shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.codec import EventCodec, dumps
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.processes.errors import FrameError
from encore_storage.processes.frames import events_frame, payload_of
from encore_storage.processes.info import ProcessInfo, describe_process
from encore_storage.server import EventFeed, create_app
from encore_storage.server.feed import MemberFeed
from encore_storage.server.history import START
from encore_storage.server.members import ENDED
from encore_storage.server.process_state import StateCursor
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES
from tests.processes.link_support import payload
from tests.server.support import Client, fetch, serving, until

NOW = 100_000.0


class Process:
    """Another process: its feed, which counts what it is given, and what takes its messages."""

    def __init__(self, feed: EventFeed, pid: int, started: float = NOW, name: str = "worker.py") -> None:
        self.feed = EventFeed(clock=feed.clock, process=ProcessInfo(pid, name, started))
        self.member = feed.join(self.feed.own.process)
        self._cursor: StateCursor | None = None

    def count(self, store: str = "archive", at: float = NOW, outcome: str = "ok", number: int = 1) -> None:
        for _ in range(number):
            event = StoreProgressEndEvent(
                store=store, operation="get", outcome=outcome, duration=0.01, delta=5, direction="read"
            )
            self.feed._consume(at, event)

    def send(self) -> None:
        messages, self._cursor = self.feed.own.changes(self._cursor)
        for each in messages:
            self.member.take_state(each)

    def reconnect(self, feed: EventFeed) -> None:
        self.member, self._cursor = feed.join(self.feed.own.process), None


@pytest.fixture
def feed() -> EventFeed:
    return EventFeed(clock=lambda: NOW, process=ProcessInfo(1, "first.py", NOW - 1000))


@pytest.fixture
def page(feed: EventFeed) -> Iterator[str]:
    with serving(create_app(feed=feed)) as server:
        yield server.address


def operations(feed: EventFeed, *processes: int) -> dict[int, int]:
    view = feed.view(processes)
    columns = view.columns(NOW + 1, (), START)
    return dict(zip(columns["time"], columns["operations"], strict=True))


def test_states_are_added_and_replaced(feed: EventFeed) -> None:
    one, other = Process(feed, 2), Process(feed, 3)
    one.count(number=3)
    one.send()
    one.count(outcome="error")
    one.send()
    one.send()
    other.count(at=NOW - 7, number=2)
    other.send()

    assert operations(feed) == {NOW: 4, NOW - 7: 2}
    assert operations(feed, 2) == {NOW: 4}
    assert feed.totals() == {
        "operations": 6,
        "cancelled": 0,
        "errors": 1,
        "read": 30,
        "written": 0,
        "commits": 0,
        "rollbacks": 0,
        "missed": 0,
    }
    (row,) = feed.view().current((), 10)["operations"]
    assert (row["errors"], row["in_flight"], row["p50"]) == (1, 0, pytest.approx(0.01, rel=0.03))


def test_whole_state_of_a_process_that_reconnects_replaces_the_first(feed: EventFeed) -> None:
    one = Process(feed, 2)
    one.count(number=3)
    one.send()
    one.member.leave(vanished=True)
    one.count(number=2)
    one.reconnect(feed)
    one.send()

    assert operations(feed) == {NOW: 5}
    assert feed.totals()["operations"] == 5
    assert len(feed.view().recent((), (), 100)[0]) == 5
    assert [process["state"] for process in feed.processes()] == ["running", "running"]


def test_failures_that_the_page_has_are_not_omitted_when_a_process_joins(feed: EventFeed) -> None:
    one, other = Process(feed, 2), Process(feed, 3)
    one.count(outcome="error", number=30)
    one.send()
    cursor = feed.view().cursor(NOW)
    other.count(outcome="error", number=15)
    other.send()

    failures, omitted = feed.view().failures(cursor.failures, (), 20)

    assert ({item["process"] for item in failures}, omitted) == ({2, 3}, 0)
    one.count(outcome="error", number=21)
    cursor = feed.view().cursor(NOW)
    one.send()
    assert feed.view().failures(cursor.failures, (), 20)[1] == 1


def test_history_of_ten_minutes_is_sent_in_several_messages(feed: EventFeed) -> None:
    one = Process(feed, 2)
    for second in range(600):
        one.count(store=f"store{second % 3}", at=NOW - second)
    messages, _ = one.feed.own.changes(None)
    one.send()

    assert len(messages) == 2
    assert len(operations(feed)) == 600


def test_changes_since_a_cursor_are_small(feed: EventFeed) -> None:
    one = Process(feed, 2)
    for second in range(600):
        one.count(at=NOW - 600 + second)
    _, cursor = one.feed.own.changes(None)
    one.count()

    (message,), _ = one.feed.own.changes(cursor)

    changes = json.loads(message)
    assert [second for second, *_ in changes["seconds"]] == [NOW]
    assert len(changes["recent"]) == 1
    assert len(message) < 2000


def test_sum_keeps_the_newest_of_states_that_arrive_late(feed: EventFeed) -> None:
    one, other = Process(feed, 2), Process(feed, 3)
    for number in range(100):
        one.count("new", at=NOW + number)
        other.count("old", at=NOW - 500 + number)
    one.send()
    other.send()

    assert {item["store"] for item in feed.view().recent((), (), 100)[0]} == {"new"}
    assert {item["store"] for item in feed.view([3]).recent((), (), 100)[0]} == {"old"}


def test_sum_evicts_the_oldest_seconds_though_they_were_added_last(feed: EventFeed) -> None:
    one, other = Process(feed, 2), Process(feed, 3)
    for second in range(0, 600, 2):
        one.count(at=NOW - 600 + second)
        other.count(at=NOW - 1001 + second)
    one.send()
    other.send()
    one.count(at=NOW)
    one.send()

    seconds = operations(feed)
    assert len([second for second in seconds if second % 2 == 0]) == 300
    assert min(seconds) > NOW - 600


def test_stores_of_all_processes_beyond_the_cap_share_a_name(feed: EventFeed) -> None:
    for pid in (2, 3):
        process = Process(feed, pid)
        for number in range(150):
            process.count(f"store{pid}-{number}")
        process.send()
        process.count(f"store{pid}-0")
        process.send()

    assert feed.totals()["operations"] == 302
    assert len(feed.view().current((), 0)["stores"]) == MAX_VALUES + 1
    assert feed.totals([OVERFLOW])["operations"] == 100


def test_missed_and_unsent_events_are_counted_by_process(feed: EventFeed) -> None:
    one, other = Process(feed, 2), Process(feed, 3)
    one.feed.own.missed, one.feed.own.unsent = 3, 4
    other.feed.own.missed = 5
    for process in (one, other, one):
        process.send()

    assert feed.totals()["missed"] == 8
    assert [found["totals"]["missed"] for found in feed.processes(with_totals=True)] == [0, 3, 5]
    assert [found["totals"]["unsent"] for found in feed.processes(with_totals=True)] == [0, 4, 0]
    assert feed.members.sum.unsent == 4


def test_recorded_time_of_a_replay_is_shown_whichever_process_replays(feed: EventFeed) -> None:
    replaying, other = Process(feed, 2), Process(feed, 3)
    for process in (replaying, other):
        process.count()
        process.send()
    assert feed.view().current((), 0)["replayed"] is None

    event = StoreProgressEndEvent(store="archive", operation="get", outcome="ok", duration=0.01, delta=0)
    codec = EventCodec()
    replaying.feed._consume(NOW, codec.decode(codec.encode(event, time=NOW - 500)).event)
    for process in (replaying, other):
        process.send()

    assert feed.view().current((), 0)["replayed"] == NOW - 500
    assert feed.view((2,)).current((), 0)["replayed"] == NOW - 500
    assert feed.view((3,)).current((), 0)["replayed"] is None


def test_latest_ended_processes_are_kept_apart(feed: EventFeed, page: str) -> None:
    processes = [Process(feed, pid) for pid in range(2, ENDED + 7)]
    for process in processes:
        process.count()
        process.send()
        process.member.leave(vanished=False)

    found = fetch(page, "/api/processes").json

    assert len(found["processes"]) == ENDED + 1
    assert found["ended_before"] == 5
    assert feed.totals()["operations"] == ENDED + 5
    assert repr(feed.members) == f"<Members: 0 running, {ENDED} ended>"


def test_rates_count_from_the_start_of_the_first_process(feed: EventFeed) -> None:
    feed.own.started = feed.members.sum.started = NOW - 1
    process = Process(feed, 2, started=NOW - 20)
    process.count(number=10)
    process.send()

    (row,) = feed.view().current((), 0)["operations"]

    assert row["rate"] == 0.5
    assert feed.view().current((), 0)["started"] == NOW - 20


@pytest.mark.parametrize(
    "changed",
    [
        {"seconds": 7},
        {"seconds": [[1, "a", [1], []]]},
        {"seconds": [[1, "a", [1, 1, 1, 1, 1, 1, 1], [7]]]},
        {"seconds": [["x", "a", [1, 1, 1, 1, 1, 1, 1], []]]},
        {"totals": [["a"]]},
        {"periods": [[]]},
        {"missed": None},
        {"recent": [{}]},
        {"recent": [{"id": "a", "time": "now", "store": None}]},
        {"in_flight": [{"age": None}]},
        {"counts": [["a"]]},
        {"now": "now"},
    ],
)
def test_malformed_state_is_refused(feed: EventFeed, changed: dict[str, object]) -> None:
    process = Process(feed, 2)
    (message,), _ = process.feed.own.changes(None)

    with pytest.raises(FrameError, match="a malformed state"):
        process.member.take_state(dumps({**json.loads(message), **changed}))


@pytest.mark.parametrize("text", [b"", b"7", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_state_of_something_else_is_refused(feed: EventFeed, text: bytes) -> None:
    with pytest.raises(FrameError):
        Process(feed, 2).member.take_state(text)


def test_processes_lists_all_with_their_totals(feed: EventFeed, page: str) -> None:
    process, ended = Process(feed, 2), Process(feed, 3, name="other.py")
    start = StoreProgressStartEvent(store="archive", operation="set", operation_id="1", steps=-1, timestamp=NOW - 5)
    process.feed.own.activity.listeners[StoreProgressStartEvent](start)
    process.count(number=2)
    process.send()
    ended.member.leave(vanished=False)

    first, second, third = fetch(page, "/api/processes").json["processes"]

    assert first["is_serving"]
    assert (first["pid"], first["name"], first["started"]) == (1, "first.py", NOW - 1000)
    assert (second["pid"], second["state"], second["ended_at"], second["in_flight"]) == (2, "running", None, 1)
    assert (second["is_serving"], second["totals"]["operations"]) == (False, 2)
    assert (third["name"], third["state"], third["ended_at"], third["in_flight"]) == ("other.py", "ended", NOW, 0)


def test_processes_takes_no_parameter(page: str) -> None:
    assert fetch(page, "/api/processes?x=1").error == "unknown parameter 'x': it takes none"


def test_operations_are_of_the_chosen_processes(feed: EventFeed, page: str) -> None:
    for pid in (2, 3, 4):
        process = Process(feed, pid)
        process.count(f"store{pid}", number=pid)
        process.send()

    def chosen(query: str) -> tuple[int, list[str]]:
        found = fetch(page, f"/api/operations?{query}").json
        return found["totals"]["operations"], found["stores"]

    assert chosen("") == (9, ["store2", "store3", "store4"])
    assert chosen("process=3") == (3, ["store3"])
    assert chosen("process=3&process=4") == (7, ["store3", "store4"])
    assert chosen("process=3&store=store4") == (0, ["store3"])
    assert chosen("process=99") == (0, [])
    assert fetch(page, "/api/operations?process=x").status == 400
    recent = fetch(page, "/api/operations?process=3").json["recent"]
    assert [item["process"] for item in recent] == [3] * 3


def test_events_are_of_the_chosen_process(feed: EventFeed, page: str) -> None:
    member = Process(feed, 7).member
    manager = EventManager()
    feed.connect(manager)
    with Client(page, "/events?process=7") as chosen, Client(page, "/events") as all_events:
        DictMemoryStore(name="own", event_manager=manager).from_bytes("a", b"1")
        until(lambda: feed.ring.last == 3)
        member.take_events(payload_of(events_frame(payload(b'{"from":7}'), 2)))

        message = chosen.next()
        assert (message.event, message.json) == ("gap", {"missed": 2, "reason": "buffer"})
        message = chosen.next()
        assert (message.json, message.id) == ({"from": 7}, feed.position(6))
        assert [each.event for each in all_events.take(5)] == ["message"] * 3 + ["gap", "message"]
    feed.disconnect()


def test_summaries_name_the_processes_when_they_change(feed: EventFeed, page: str) -> None:
    clock = iter(range(10**6))
    feed.clock = lambda: NOW + next(clock) / 10  # advances with each call
    with Client(page, "/events?view=summary&process=2") as client:
        first = client.next().json
        without = client.next().json
        process = Process(feed, 2)
        process.count(number=3)
        process.send()
        found = next(message.json for message in client.messages() if "processes" in message.json)
        last = next(message.json for message in client.messages() if message.json["totals"]["operations"])

    assert [one["pid"] for one in first["processes"]] == [1]
    assert "processes" not in without
    assert [one["pid"] for one in found["processes"]] == [1, 2]
    assert last["totals"]["operations"] == 3


def test_process_is_described_by_its_script() -> None:
    process = describe_process()

    assert process.name
    assert describe_process(7.0).started == 7
    assert repr(MemberFeed(EventFeed(), Process(EventFeed(), 5).member._state)) == "<MemberFeed of process 5>"
