"""The page reports a lost connection, reconnects, and reports the number of missed events."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest
from playwright.sync_api import expect
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.server import app
from encore_storage.server.feed import EventFeed
from encore_storage.server.serving import Server
from tests.page.conftest import Open
from tests.page.support import Screen, operations


class Program:
    """A server of the page that can be stopped, and started again on the same port."""

    def __init__(self, manager: EventManager) -> None:
        self.address = ""
        self.port = 0
        self._manager = manager
        self._resources = ExitStack()

    def start(self, feed: EventFeed) -> None:
        application = app.create_app(feed=feed, registry=CollectorRegistry())
        server = Server(application, "127.0.0.1", self.port)
        self.address, self.port = server.address, server.port
        self._resources.callback(server.close)
        self._resources.callback(application.state.close)

    def stop(self) -> None:
        self._resources.close()


@pytest.fixture
def program(manager: EventManager) -> Iterator[Program]:
    program = Program(manager)
    yield program
    program.stop()


class OpenConnections:
    """Accepts the connections to a socket, and sends nothing."""

    def __init__(self, server: socket.socket) -> None:
        self._accepted = 0
        self._server = server
        self._open = list[socket.socket]()

    def reached(self, count: int) -> bool:
        """Return whether at least `count` connections were accepted."""
        self.count()
        return self._accepted >= count

    def count(self) -> int:
        """Return the number of connections that are still open."""
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._server.accept()
                connection.setblocking(False)
                self._open.append(connection)
                self._accepted += 1
        self._open = [one for one in self._open if _is_open(one)]
        return len(self._open)

    def respond_to_oldest(self, response: bytes) -> None:
        """Send a response to the oldest open connection."""
        self.count()
        for one in self._open[:1]:
            with suppress(ConnectionError):
                one.sendall(response)

    def close(self) -> None:
        for one in self._open:
            one.close()


def _is_open(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    connection.close()
    return False


def fail(store: DictMemoryStore, name: str) -> None:
    """Roll back a transaction."""
    with suppress(OSError), store.transaction(name):
        store.from_bytes(name, b"1")
        raise OSError(f"{name} failed")


def expect_banner(screen: Screen, kind: str) -> None:
    """Wait until the banner is of the kind 'lost', 'back', 'missed' or 'none'."""
    expect(screen.page.locator("#connection")).to_have_attribute("data-kind", kind)


def test_reconnection_fills_the_gap(screen: Screen, program: Program, feed: EventFeed, store: DictMemoryStore) -> None:
    program.start(feed)
    fail(store, "before")
    screen.open(program.address)
    expect(screen.rows("failures")).to_have_count(1)

    program.stop()
    expect_banner(screen, "lost")
    status = screen.page.locator("#connection [role=status]")
    expect(status).to_contain_text("Connection lost")
    expect(status).to_contain_text("The server does not respond")
    expect(screen.page.locator("#connection-clock")).to_have_text(re.compile(r"^[1-9]\d*\u202fs$"))
    expect(screen.page).to_have_title(re.compile("^Connection lost \u2013 .+ \u2013 Encore$"))
    for number in range(30):
        fail(store, f"meanwhile {number}")

    program.start(feed)
    expect_banner(screen, "back")
    expect(status).to_contain_text(re.compile("Reconnected after .*No events were missed", re.DOTALL))
    expect(screen.rows("failures")).to_have_count(31)
    expect(screen.figure("rollbacks")).to_have_text("31")
    screen.wait_for_totals(operations(program.address)["totals"])
    expect(screen.page).to_have_title(re.compile("^[^\u2013]+ \u2013 Encore$"))


def test_events_evicted_from_buffer_are_counted_as_missed(
    screen: Screen, program: Program, store: DictMemoryStore, manager: EventManager
) -> None:
    with EventFeed(capacity=10).connect(manager) as feed:
        program.start(feed)
        screen.open(program.address)
        program.stop()
        screen.wait_for_connection("lost")
        for _ in range(50):
            store.exists("a")  # emits a start and an end event
        screen.wait_until(lambda: feed.ring.last == 100)
        program.start(feed)
        expect_banner(screen, "missed")
        expect(screen.page.locator("#connection-text")).to_contain_text("90 events were missed")
        expect(screen.total("operations")).to_have_attribute("value", "50")
        screen.page.get_by_role("button", name="Dismiss").click()
        expect_banner(screen, "none")


def test_restarted_program_is_reported(
    screen: Screen, program: Program, feed: EventFeed, store: DictMemoryStore, manager: EventManager
) -> None:
    program.start(feed)
    fail(store, "first run")
    screen.open(program.address)
    expect(screen.total("rollbacks")).to_have_attribute("value", "1")
    program.stop()
    screen.wait_for_connection("lost")
    with EventFeed().connect(manager) as other:
        program.start(other)
        fail(store, "second run")
        fail(store, "second run again")
        expect_banner(screen, "missed")
        expect(screen.page.locator("#connection-text")).to_contain_text("unknown: the program was restarted")
        expect(screen.total("rollbacks")).to_have_attribute("value", "2")
        expect(screen.rows("failures")).to_have_count(3)  # the failure of the first run is kept


def test_silent_connection_counts_as_lost(
    screen: Screen, program: Program, store: DictMemoryStore, manager: EventManager
) -> None:
    feed = EventFeed(clock=lambda: 1_790_000_000.0)  # no second ever ends, so no summary is sent
    with feed.connect(manager):
        program.start(feed)
        screen.page.clock.install()
        screen.page.goto(program.address)
        screen.wait_for_connection("live")
        screen.page.clock.fast_forward(9_000)
        expect(screen.page.locator("html")).to_have_attribute("data-connection", "live")
        screen.page.clock.fast_forward(2_000)
        screen.wait_for_connection("lost")
        screen.page.clock.run_for(2_000)
        screen.wait_for_connection("live")


def test_silent_server_does_not_accumulate_connections(screen: Screen, program: Program, feed: EventFeed) -> None:
    program.start(feed)
    screen.page.clock.install()
    screen.page.goto(program.address)
    screen.wait_for_connection("live")
    program.stop()
    with socket.create_server(("127.0.0.1", program.port)) as silent:  # accepts connections and never responds
        silent.setblocking(False)
        connections = OpenConnections(silent)
        for attempts in range(1, 9):
            screen.wait_for_connection("lost")
            screen.page.clock.run_for(4_000)  # the next attempt
            screen.wait_until(partial(connections.reached, attempts))
            screen.page.clock.run_for(11_000)  # counts as lost
        screen.wait_until(connections.count, lambda count: count <= 2)  # a browser opens at most six per host
    connections.close()
    program.start(feed)
    screen.page.clock.run_for(4_000)
    screen.wait_for_connection("live")


def test_slow_refusal_is_reported(screen: Screen, program: Program, feed: EventFeed) -> None:
    program.start(feed)
    screen.page.clock.install()
    screen.page.goto(program.address)
    screen.wait_for_connection("live")
    program.stop()
    with socket.create_server(("127.0.0.1", program.port)) as slow:
        slow.setblocking(False)
        connections = OpenConnections(slow)
        screen.wait_for_connection("lost")
        screen.page.clock.run_for(4_000)
        screen.wait_until(partial(connections.reached, 1))  # reconnects
        screen.page.clock.run_for(11_000)
        screen.wait_until(partial(connections.reached, 2))  # lost again: requests the reason
        screen.page.clock.run_for(4_000)
        screen.wait_until(partial(connections.reached, 3))  # reconnects before the response
        refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

        def title() -> str | None:
            connections.respond_to_oldest(refusal)
            return screen.page.locator("#connection-title").text_content()

        screen.wait_until(title, lambda text: text == "Login required")
    connections.close()


def test_unauthorized_page_explains_how_to_log_in(
    new_screen: Open, program: Program, feed: EventFeed, store: DictMemoryStore, manager: EventManager
) -> None:
    screen = new_screen()
    program.start(feed)
    screen.open(program.address)
    program.stop()
    with monitor(
        manager,
        logs=False,
        registry=CollectorRegistry(),
        port=program.port,
        token="x" * 32,
    ) as observed:
        expect(screen.page.locator("#connection-title")).to_have_text("Login required")
        expect(screen.page.locator("#connection-text")).to_contain_text("/login?code=")
        link = observed.new_login()
        assert link is not None
        screen.page.context.new_page().goto(link)
        screen.wait_for_connection("live")


def test_refusal_of_stream_is_quoted(
    screen: Screen, program: Program, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.start(feed)
    screen.open(program.address)
    program.stop()
    monkeypatch.setattr(app, "MAX_CLIENTS", 0)
    program.start(feed)
    text = screen.page.locator("#connection-text")
    expect(text).to_contain_text("refuses the stream")
    expect(text).to_contain_text("0 clients are connected: try again later")
    monkeypatch.undo()
    screen.wait_for_connection("live")
