"""Forked children of a program that serves: the page, its clients and its counts stay the parent's."""

from __future__ import annotations

import pytest

from tests.forking import FORKS, run_forking

BEGIN = """
import gc, json, os, signal, socket, stat, sys, threading, urllib.request
from prometheus_client import CollectorRegistry
from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.server.feed import EventFeed
from tests.forking import *

manager = EventManager()

def serve():
    return monitor(manager, logs=False, port=0, registry=CollectorRegistry())

def ask(monitored, path="healthz"):
    with urllib.request.urlopen(monitored.page + path) as response:
        return json.load(response)

def follow(monitored):
    client = socket.create_connection(("127.0.0.1", int(monitored.page.rsplit(":")[-1].rstrip("/"))))
    client.sendall(b"GET /events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    client.recv(1)
    return client
"""


def run(program: str) -> list[str]:
    return run_forking(BEGIN + program)


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("ending", ["monitored.close()", "(globals().pop('monitored'), gc.collect())", "sys.exit()"])
def test_close_in_a_child_leaves_the_parent_serving(ending: str, kind: str) -> None:
    printed = run(
        f"""
monitored = serve()
client = follow(monitored)
response = forked(lambda: {ending}, FORKS[{kind!r}])
DictMemoryStore(name="archive", event_manager=manager).from_bytes("after", b"1")
received = b""
while b"after" not in received:
    received += client.recv(65536)
print(ask(monitored))
monitored.close()
"""
    )

    assert printed == ["{'status': 'ok'}"]


def test_child_serves_its_own_page() -> None:
    printed = run("""
monitored = serve()
archive = DictMemoryStore(name="archive", event_manager=manager)
opened = archive.from_bytes("a", b"1"), archive.get_data("a")
def work():
    with serve() as own:
        DictMemoryStore(name="own", event_manager=manager).from_bytes("b", b"1")
        until(lambda: ask(own, "api/operations")["recent"])
        response = ask(own, "api/operations")
        return own.page != monitored.page, response["in_flight_total"], [one["store"] for one in response["recent"]]
print(forked(work))
print(ask(monitored, "api/operations")["in_flight_total"])
opened[1].close()
monitored.close()
""")

    assert printed == ["(True, 0, ['own'])", "1"]


def test_child_reads_a_history_locked_at_the_fork() -> None:
    printed = run("""
feed = EventFeed().connect(manager)
DictMemoryStore(name="archive", event_manager=manager).from_bytes("a", b"1")
until(lambda: feed.own.history.stores)
with held(feed.own.history._lock):
    print(forked(lambda: (feed.own.history.stores, feed.totals()["operations"], feed.is_listening)))
print(feed.is_listening)
feed.disconnect()
""")

    assert printed == ["(['archive'], 1, False)", "True"]


def test_child_keeps_a_reused_file_descriptor() -> None:
    printed = run("""
def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
monitored = serve()
client = follow(monitored)
sockets = [fd for fd in range(3, 64) if fd != client.fileno() and is_socket(fd)]
def work():
    own, other = os.pipe()
    for fd in sockets:  # as a daemon does, before anything has noticed the fork
        os.dup2(other, fd)
    monitored.close()
    for fd in sockets:
        os.write(fd, b"x")
    return len(os.read(own, 100)) == len(sockets) > 1
print(forked(work, fork_without_hooks))
monitored.close()
""")

    assert printed == ["True"]
