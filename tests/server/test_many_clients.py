"""Five hundred clients at two hundred events a second, and clients that never read."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from encore_events import BaseEvent, EventManager
from encore_storage.server import EventFeed, create_app
from tests.server.support import Client, serving, until

CLIENTS = 500
STALLED = 20  # clients that never read
RATE = 200  # events a second
EVENTS = 1000
FULL = 200  # events: one fifth of the capacity
PROGRAM = Path(__file__).with_name("many_clients.py")


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_many_clients_miss_no_event_and_use_little_memory(manager: EventManager) -> None:
    before = set(threading.enumerate())
    feed = EventFeed(capacity=FULL * 5).connect(manager)
    with serving(create_app(feed=feed)) as server:
        command = [sys.executable, str(PROGRAM), "127.0.0.1", str(server.port), str(CLIENTS), str(STALLED)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
            assert clients.stdout is not None
            assert json.loads(clients.stdout.readline()) == {"connected": CLIENTS}
            memory = 0
            for number in range(EVENTS):
                manager.emit(BaseEvent(number=number, text="x" * 200))
                threading.Event().wait(1 / RATE)
                if number == EVENTS // 2:
                    memory = resident()
            grown = resident() - memory
            manager.emit(BaseEvent(word="last"))
            counts = json.loads(clients.stdout.readline())

    assert counts == [[EVENTS + 1, 0]] * CLIENTS
    assert grown < 20_000_000
    feed.disconnect()
    until(lambda: set(threading.enumerate()) <= before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_clients_that_never_read_use_no_memory(manager: EventManager) -> None:
    feed = EventFeed(capacity=200).connect(manager)
    text = "x" * 10_000
    with serving(create_app(feed=feed)) as server:
        stalled = [Client(server.address, "/events") for _ in range(STALLED)]
        with Client(server.address, "/events") as reader:
            reading = reader.messages()
            for _ in range(200):
                manager.emit(BaseEvent(text=text))
            for _ in range(200):
                next(reading)
            memory = resident()
            for _ in range(20):  # 40 MB for each client if it were buffered
                for _ in range(200):
                    manager.emit(BaseEvent(text=text))
                for _ in range(200):
                    assert next(reading).event == "message"
            grown = resident() - memory
        for client in stalled:
            client.close()

    assert grown < 100_000_000  # of 800 MB
    feed.disconnect()
