"""Events and states of real processes, forwarded to the feed of another one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from encore_storage.server import EventFeed
from tests.processes.link_support import MEMBER, SERVING, Child, children
from tests.server.support import until

WORK = "[store.from_bytes(str(number), b'12345') for number in range(100)]"


class Serving:
    """A feed that serves, with its receiver."""

    def __init__(self, path: Path, feed: EventFeed | None = None) -> None:
        self.feed = EventFeed() if feed is None else feed
        self.vanished: list[tuple[Any, Any]] = []
        self.receiver = Receiver(path, self.feed, on_vanished=lambda *found: self.vanished.append(found))
        self.receiver.start()

    def operations(self, *processes: int) -> int:
        return self.feed.view(processes).totals()["operations"]

    def state_of(self, pid: int) -> str:
        """Return "" while the process is not listed."""
        return next((str(one["state"]) for one in self.feed.processes() if one["pid"] == pid), "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sock"


@pytest.fixture
def serving(path: Path) -> Iterator[Serving]:
    one = Serving(path)
    yield one
    one.receiver.close()


def work(children: list[Child], code: str = WORK) -> None:
    for child in children:
        child.start(code)
    for child in children:
        child.wait()


def test_totals_and_events_of_all_processes_are_exact(path: Path, serving: Serving) -> None:
    manager = EventManager()
    serving.feed.connect(manager)
    with children(path, 3) as members:
        work(members)
        DictMemoryStore(name="own", event_manager=manager).from_bytes("a", b"1")
        work(members, "close()")
        pids, feed = [child.pid for child in members], serving.feed
        until(lambda: all(serving.state_of(pid) == "ended" for pid in pids))
        feed.disconnect()
        totals = feed.totals()

    assert (totals["operations"], totals["written"], totals["missed"]) == (301, 1501, 0)
    assert [serving.operations(pid) for pid in (os.getpid(), *pids)] == [1, 100, 100, 100]
    assert serving.operations(pids[0], pids[1]) == 200
    assert serving.operations(1) == 0
    assert [serving.state_of(pid) for pid in pids] == ["ended"] * 3
    frames = [event.frame for event in feed.ring.after(0).events]
    assert [json.loads(each.split(b"data: ")[1])["process"] for each in frames] == [
        event.process for event in feed.ring.after(0).events
    ]
    assert {event.process for event in feed.ring.after(0).events} == {os.getpid(), *pids}
    assert frames[-1].startswith(b"id: %b-903\n" % feed.run.encode())
    assert serving.vanished == []


def test_charts_and_table_have_the_sum_of_all_processes(path: Path, serving: Serving) -> None:
    with children(path, 2) as members:
        work(members)
        work(members, "close()")
        until(lambda: serving.operations() == 200)
        view = serving.feed.view()
        current = view.current((), 10)
        columns = view.columns(time.time() + 1, (), view.cursor(0).history)
        (row,) = [row for row in current["operations"] if row["operation"] == "set"]

    assert sum(columns["operations"]) == 200
    assert row["bytes_per_second"] == pytest.approx(5 * row["rate"])
    assert current["stores"] == ["archive"]
    assert len(view.recent((), (), 300)[0]) == 100


def test_member_whose_clock_is_set_sends_its_totals(path: Path, serving: Serving) -> None:
    clock = "import time; real, ahead = time.time, [0.0]; time.time = lambda: real() + ahead[0]\n"
    member = Child(path, clock + MEMBER)
    try:
        for number, seconds in enumerate((0.0, -3600.0, 86400.0, 0.0), 1):
            member.run(f"ahead[0] = {seconds}; {WORK}")
            until(lambda count=100 * number: serving.operations(member.pid) == count)  # type: ignore[misc]  # a bound value
        member.run("close()")
        until(lambda: serving.state_of(member.pid) == "ended")
    finally:
        member.end()

    assert serving.operations() == 400
    assert len(serving.feed.ring.after(0).events) == 1200


def test_later_process_with_the_same_id_is_another_one(path: Path, serving: Serving) -> None:
    for number in (1, 2):
        manager, feed = EventManager(), EventFeed()  # of this process: one feed after the other has the same id
        sender = Sender(path, feed.own.process)
        feed.forward_to(sender)
        feed.connect(manager)
        assert sender.connect()
        for key in range(number):
            DictMemoryStore(name="archive", event_manager=manager).from_bytes(str(key), b"1")
        feed.disconnect()
        sender.close()
        until(lambda count=number: len([one for one in serving.feed.processes() if one["state"] == "ended"]) == count)  # type: ignore[misc]  # a bound value

    _, first, second = serving.feed.processes(with_totals=True)
    assert first["pid"] == second["pid"]
    assert (first["totals"]["operations"], second["totals"]["operations"]) == (1, 2)
    assert serving.operations() == 3


def test_operations_in_flight_name_their_process(path: Path, serving: Serving) -> None:
    with children(path, 2) as members:
        work(members, "store.from_bytes('a', b'1'); stream = store.get_data('a'); stream.read(1)")
        until(lambda: serving.feed.view().current((), 10)["in_flight_total"] == 2)
        current = serving.feed.view().current((), 10)
        chosen = serving.feed.view([members[0].pid]).current(("archive",), 10)
        time.sleep(0.01)
        later = serving.feed.view([members[0].pid]).current(("archive",), 10)

    assert {item["process"] for item in current["in_flight"]} == {child.pid for child in members}
    assert current["in_flight"][0]["age"] >= current["in_flight"][1]["age"]
    assert [item["process"] for item in chosen["in_flight"]] == [members[0].pid]
    assert later["in_flight"][0]["age"] > chosen["in_flight"][0]["age"]
    assert "since" not in later["in_flight"][0]
    assert [row["in_flight"] for row in current["operations"] if row["operation"] == "get"] == [2]


def test_killed_process_has_vanished_with_its_operations(path: Path, serving: Serving) -> None:
    with children(path) as (member,):
        member.run("store.from_bytes('a', b'1'); stream = store.get_data('a'); stream.read(1)")
        until(lambda: serving.feed.view().current((), 10)["in_flight_total"] == 1)
        until(lambda: serving.feed.totals()["operations"] == 1)  # the set, which is counted in another thread
        member.process.kill()
        until(lambda: serving.vanished)

        ((process, in_flight),) = serving.vanished
        (_, described) = serving.feed.processes(with_totals=True)

    assert (process.pid, list(in_flight.values())) == (member.pid, [1])
    assert (described["state"], described["in_flight"]) == ("vanished", 0)
    assert described["ended_at"] == pytest.approx(time.time(), abs=30)
    assert described["totals"]["operations"] == 1
    assert serving.feed.view().current((), 10)["in_flight"] == []


def test_processes_killed_in_the_middle_of_frames_leave_whole_events(path: Path, serving: Serving) -> None:
    with children(path, 3) as members:
        for member in members:
            member.start("[store.from_bytes(str(number), b'1' * 500) for number in range(10**9)]")
        for member in members:
            reached = serving.feed.ring.last + 2000
            until(lambda reached=reached: serving.feed.ring.last > reached)  # type: ignore[misc]  # a loop variable
            member.process.kill()
        until(lambda: len(serving.vanished) == 3)

    for event in serving.feed.ring.after(0).events:
        assert json.loads(event.frame.split(b"data: ")[1])["id"] == event.id


def test_member_whose_receiver_stops_reading_is_not_delayed(path: Path) -> None:
    program = Child(path, SERVING)
    try:
        feed, manager = EventFeed(), EventManager()
        sender = Sender(path, feed.own.process, max_bytes=1_000_000)
        feed.forward_to(sender)
        feed.connect(manager)
        until(sender.connect)
        os.kill(program.pid, signal.SIGSTOP)
        store = DictMemoryStore(name="archive", event_manager=manager)
        longest = 0.0
        until(lambda: program.is_stopped)
        while not sender.unsent:
            before = time.perf_counter()
            store.from_bytes("a", b"1")
            longest = max(longest, time.perf_counter() - before)
        os.kill(program.pid, signal.SIGCONT)
        until(lambda: sender.is_idle)
        store.from_bytes("last", b"1")
        feed.disconnect()
        sender.close()
        operations = feed.totals()["operations"]
        found = program.ask("[feed.totals()['operations'], feed.members.sum.unsent, feed.ring.last]")
    finally:
        program.end()

    assert longest < 1
    assert found[0] == operations
    assert found[1] == sender.unsent > 0
    assert found[2] == 3 * operations + feed.own.missed  # gaps included


def test_flooding_process_drops_only_its_own_events(path: Path, serving: Serving) -> None:
    with children(path, 2) as (flooding, calm):
        flooding.run("sender._max_bytes = 100_000")
        flooding.start("[store.from_bytes(str(number), b'1') for number in range(10_000)]")
        for _ in range(20):
            calm.run(WORK)
        flooding.wait()
        work([flooding, calm], "close()")
        until(lambda: serving.state_of(flooding.pid) == serving.state_of(calm.pid) == "ended")

        _, one, other = serving.feed.processes(with_totals=True)
        totals = {each["pid"]: each["totals"] for each in (one, other)}

    assert totals[calm.pid]["operations"] == 2000
    assert totals[calm.pid]["missed"] == totals[calm.pid]["unsent"] == 0
    assert totals[flooding.pid]["operations"] + totals[flooding.pid]["missed"] >= 10_000
    found = serving.feed.ring.after(0)
    assert serving.feed.ring.last == len(found.events) + found.missed >= 3 * 12_000


def test_next_process_to_serve_gets_everything_of_the_living(path: Path) -> None:
    first = Serving(path)
    with children(path, 2) as members:
        work(members)
        until(lambda: first.operations() == 200)
        first.receiver.close()
        for member in members:
            member.run("assert sender.wait_closed(10)")
        work(members)  # while nobody serves
        second = Serving(path)
        work(members, "assert sender.connect()")
        work(members, "store.from_bytes('last', b'1')")
        until(lambda: second.operations() == 402)
        until(lambda: second.feed.ring.last == 402 * 3 - first.feed.ring.last)
        work(members, "close()")
        until(lambda: second.state_of(members[0].pid) == second.state_of(members[1].pid) == "ended")
        view = second.feed.view()
        columns = view.columns(time.time() + 1, (), view.cursor(0).history)
        second.receiver.close()

    assert sum(columns["operations"]) == 402
    assert second.feed.ring.after(0).missed == 0
    assert len(view.recent((), (), 1000)[0]) == 100


def test_member_that_takes_over_shows_what_it_has_not_sent(path: Path) -> None:
    feed, manager = EventFeed(), EventManager()
    sender = Sender(path, feed.own.process)
    feed.forward_to(sender)
    feed.connect(manager)
    store = DictMemoryStore(name="archive", event_manager=manager)
    store.from_bytes("a", b"1")
    until(lambda: feed.totals()["operations"] == 1)
    served = [feed.serves]

    feed.serve()
    feed.serve()
    store.from_bytes("b", b"1")
    until(lambda: feed.ring.last == 6)
    feed.disconnect()

    assert [*served, feed.serves] == [False, True]
    keys = [json.loads(event.frame.split(b"data: ")[1])["data"]["key"] for event in feed.ring.after(0).events]
    assert keys == ["a"] * 3 + ["b"] * 3


def test_process_that_connects_again_is_counted_once(path: Path, serving: Serving) -> None:
    with children(path) as (member,):
        member.run(WORK)
        member.run("sender.close()")
        until(lambda: serving.state_of(member.pid) == "ended")
        member.run(WORK)
        member.run("assert sender.connect()")
        until(lambda: serving.operations() == 200)

        assert serving.state_of(member.pid) == "running"
        assert len(serving.feed.processes()) == 2
        assert serving.operations(member.pid) == 200
