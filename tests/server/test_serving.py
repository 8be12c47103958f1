"""Serving on a port: start, addresses, errors and shutdown."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.server import EventFeed, create_app
from encore_storage.server.serving import Server
from encore_storage.subscribers.errors import AddressError
from tests.server.support import fetch, serving, until

WITHOUT = """
import sys

sys.modules[sys.argv[1]] = None  # importing it is an ImportError
from encore_events import EventManager
from encore_storage import monitor

try:
    monitor(EventManager(), logs=False, port=0)
except ImportError as error:
    print(error)
"""


FORKED = """
import os, socket, sys, warnings
from encore_events import EventManager
from encore_storage import monitor

warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
monitored = monitor(EventManager(), logs=False, port=0)
place = ("127.0.0.1", int(monitored.page.rsplit(":")[-1].rstrip("/")))
client = socket.create_connection(place)
client.sendall(b"GET /events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
client.recv(1)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    client.close()
    os.close(writing)
    os.read(reading, 1)  # until the parent has finished
    os._exit(0)
os.close(reading)
monitored.close()
while client.recv(65536):
    pass
try:
    socket.create_connection(place)
except ConnectionRefusedError:
    print("refused")
monitor(EventManager(), logs=False, port=place[1]).close()
os.write(writing, b"x")
print(os.waitpid(child, 0)[1])
"""


PATCHED = """
from gevent import monkey
monkey.patch_all()
import sys, types, urllib.request
from encore_events import EventManager
from encore_storage import monitor

for name in ("httptools", "uvloop"):
    sys.modules[name] = types.ModuleType(name)  # as if installed, but of no use
with monitor(EventManager(), logs=False, port=0) as monitored:
    print(urllib.request.urlopen(monitored.page + "healthz").status)
"""


def test_server_works_in_a_patched_program_without_httptools_and_uvloop() -> None:
    done = subprocess.run([sys.executable, "-c", PATCHED], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("200\n", "")


def test_forked_child_keeps_neither_port_nor_clients() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("refused\n0\n", "")


def test_server_ignores_the_kind_of_loop_of_the_program(feed: EventFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    def new_event_loop() -> asyncio.AbstractEventLoop:
        raise AssertionError("as with `uvloop.install()`, it would be a loop of another kind")

    for module in (asyncio, asyncio.events, asyncio.runners):
        monkeypatch.setattr(module, "new_event_loop", new_event_loop, raising=False)

    with serving(create_app(feed=feed)) as server:
        assert fetch(server.address, "/healthz").status == 200


def test_client_that_stops_reading_is_not_logged_at_close(
    manager: EventManager, feed: EventFeed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("encore_storage.server.serving._GRACE", 0)
    with serving(create_app(feed=feed)) as server, socket.create_connection((server.host, server.port)) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(1)
        connections: Any = server._server.server_state.connections
        store = DictMemoryStore(event_manager=manager)
        while not all(each.flow.write_paused for each in connections):
            store.from_bytes("a" * 1000, b"1")
        server.close()
        assert not connections

    assert caplog.records == []


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_missing_package_names_the_extra(package: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, package], capture_output=True, text=True, check=True)

    assert f"needs the package {package!r}" in done.stdout
    assert "run pip install '.[server]' in a clone of Encore" in done.stdout


def test_answers_are_sent_at_once(feed: EventFeed) -> None:
    with serving(create_app(feed=feed)) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        (connection,) = until(lambda: list(server._server.server_state.connections))
        served = connection.transport.get_extra_info("socket")

        assert served.getpeername() == client.getsockname()
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_taken_port_leaves_nothing_running(manager: EventManager, feed: EventFeed) -> None:
    feed.disconnect()
    with serving(create_app(feed=feed)) as server:
        before = set(threading.enumerate())
        with pytest.raises(AddressError, match=f"nothing can be served on port {server.port} of '127"):
            monitor(manager, logs=False, registry=CollectorRegistry(), port=server.port, required=True)

        assert set(threading.enumerate()) <= before
        assert repr(manager) == "<EventManager: 0 listeners>"


def test_failed_thread_start_releases_the_port(
    manager: EventManager, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving(create_app(feed=feed)) as server:
        port = server.port
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            Server(create_app(feed=feed), "127.0.0.1", port)

    with monitor(manager, logs=False, registry=CollectorRegistry(), port=port) as monitored:
        assert monitored.page == f"http://127.0.0.1:{port}/"


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_interrupted_start_ends_the_thread(feed: EventFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    start, threads = threading.Thread.start, list[threading.Thread]()

    def interrupted(thread: threading.Thread) -> None:
        threads.append(thread)
        start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Server(create_app(feed=feed), "127.0.0.1", 0)
    for thread in threads:
        thread.join()

    assert [thread.name for thread in threads] == ["encore-server"]


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("no.such.host.invalid", r"[\w ]+"),  # the resolver's message
        ("a\0b", "not a valid host name"),
        ("a" * 70 + ".x", "not a valid host name"),
        ("192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_unusable_host_is_refused_with_the_reason(manager: EventManager, host: str, reason: str) -> None:
    wanted = rf"nothing can be served on port 0 of {re.escape(repr(host))}: ({reason}); choose another host"
    with pytest.raises(AddressError, match=wanted) as error:
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, host=host, token="x" * 32)

    assert "Unknown error" not in str(error.value)
    assert repr(manager) == "<EventManager: 0 listeners>"


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"token": "x" * 32}, {"allowed_hosts": ["example.org"]}])
def test_server_options_without_a_port_log_a_warning(
    manager: EventManager, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with monitor(manager, logs=False, registry=CollectorRegistry(), **options) as monitored:
        assert monitored.page is None

    assert caplog.messages == ["nothing is served: host, token or allowed_hosts was given, and no port"]


def test_close_twice_does_nothing(feed: EventFeed) -> None:
    server = Server(create_app(feed=feed), "127.0.0.1", 0)

    server.close()
    server.close()

    assert repr(server) == f"<Server at http://127.0.0.1:{server.port}/>"


def test_server_listens_on_ipv6(feed: EventFeed) -> None:
    with serving(create_app(feed=feed), host="::1") as server:
        assert server.address == f"http://[::1]:{server.port}/"
        assert fetch(server.address, "/healthz").status == 200


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "[::1]")])
def test_address_can_be_opened(feed: EventFeed, host: str, shown: str) -> None:
    with serving(create_app(feed=feed), host=host) as server:
        assert server.address == f"http://{shown}:{server.port}/"
        assert fetch(server.address, "/healthz").status == 200


def test_closing_the_event_manager_ends_the_feed(manager: EventManager) -> None:
    before = set(threading.enumerate())
    feed = EventFeed().connect(manager)
    DictMemoryStore(event_manager=manager).from_bytes("a", b"1")

    manager.close()
    until(lambda: set(threading.enumerate()) <= before)

    assert feed.ring.last == 3
    feed.disconnect()


def test_monitor_keeps_serving_without_a_reference(manager: EventManager) -> None:
    page = monitor(manager, logs=False, registry=CollectorRegistry(), port=0).page
    assert page is not None
    gc.collect()

    assert fetch(page, "/healthz").json == {"status": "ok"}
    manager.close()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"port": True}, TypeError),
        ({"keys": "all"}, TypeError),
        ({"allowed_hosts": "example.org"}, TypeError),
        ({"allowed_hosts": [3]}, TypeError),
        ({"token": 3}, TypeError),
    ],
)
def test_monitor_refuses_invalid_options(manager: EventManager, options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match="not"):
        monitor(manager, logs=False, registry=CollectorRegistry(), **{"port": 0, **options})

    assert repr(manager) == "<EventManager: 0 listeners>"


@pytest.mark.parametrize(("options", "kind"), [({"capacity": 0}, ValueError), ({"keys": "all"}, TypeError)])
def test_feed_refuses_invalid_options(options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match="must be"):
        EventFeed(**options)
