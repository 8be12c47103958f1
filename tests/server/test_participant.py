"""The part of one process in a shared page: what is undone when it cannot serve, and what goes on."""

from __future__ import annotations

import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage.processes import ended
from encore_storage.processes.group import Group
from encore_storage.processes.receiver import Receiver
from encore_storage.server import participant as module
from encore_storage.server.access import Access
from encore_storage.server.participant import Page, Participant
from encore_storage.subscribers import blocks


@pytest.fixture
def group(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    group = Group("shop", "shop")
    yield group
    group.leave_if_last()


@pytest.fixture
def participant(group: Group) -> Participant:
    return Participant(
        Page(
            event_manager=EventManager(),
            registry=CollectorRegistry(),
            group=group,
            host="127.0.0.1",
            port=0,
            access=Access(None, scope="shop"),
            hosts=("127.0.0.1",),
            keys=True,
            required=False,
        )
    )


def fetch(address: str | None, path: str = "") -> bytes:
    with urllib.request.urlopen(f"{address}{path}") as response:
        return bytes(response.read())


def test_page_is_given_up_if_it_cannot_be_shared(participant: Participant, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    before = set(threading.enumerate())
    monkeypatch.setattr(module, "add_ended", fail)

    with pytest.raises(MemoryError):
        participant.start()

    assert set(threading.enumerate()) <= before
    port = int(str(participant.address or ":0").rpartition(":")[2].strip("/"))
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_receiver_without_a_thread_is_a_warning(
    participant: Participant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Receiver, "start", fail)
    participant.lead()

    assert fetch(participant.address)
    assert [record.message for record in caplog.records] == [
        "the page shows no events of the other processes: can't start new thread"
    ]
    participant.resign()


def test_server_that_has_ended_is_replaced(
    participant: Participant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    participant.lead()
    first = participant._server
    assert first is not None
    first._server.should_exit = True
    first._thread.join()

    participant.tick()

    assert fetch(participant.address)
    assert participant._server is not first
    assert "has ended" in caplog.text
    participant.resign()


def test_malformed_counts_of_ended_processes_are_left_out_of_the_page(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    assert group.path is not None
    good = blocks.operation("shop", "get", "read", "ok", 3, 2, "")
    malformed = {
        good[:-1]: [1.0] * 5,
        blocks.operation("shop", "get", "read", "ok", 3, 3, ""): [float("inf")] * 5,
        ("+", blocks.MOVED, "shop"): [1.0],
        ("++", blocks.TRANSACTION): [1.0, 2.0],
        ("+",): [1.0],
    }
    ended.write(group.path, {good: [2.0, 0.5, 30.0, 7.0, 30.0], **malformed}, ())
    page = Page(
        EventManager(),
        CollectorRegistry(),
        group,
        "127.0.0.1",
        0,
        Access(None, scope="shop"),
        ("127.0.0.1",),
        True,
        False,
    )
    participant = Participant(page)
    participant.lead()
    participant.resign()

    assert participant.feed.totals()["operations"] == 2
    assert participant.feed.totals()["read"] == 30
    [line] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == "5 counts of ended processes are missing in the totals of the page: they are malformed"
