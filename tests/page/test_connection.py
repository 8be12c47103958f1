"""The connection is lost, and comes back: the page says so, says what was missed, and lacks nothing else."""

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
    """Serves the page of an event manager, and can stop doing so and begin again on the same port."""

    def __init__(self, manager: EventManager) -> None:
        self.address = ""
        self.port = 0
        self._manager = manager
        self._served = ExitStack()

    def start(self, feed: EventFeed) -> None:
        served = app.create_app(feed=feed, registry=CollectorRegistry())
        server = Server(served, "127.0.0.1", self.port)
        self.address, self.port = server.address, server.port
        self._served.callback(server.close)
        self._served.callback(served.state.close)

    def stop(self) -> None:
        self._served.close()


@pytest.fixture
def program(manager: EventManager) -> Iterator[Program]:
    program = Program(manager)
    yield program
    program.stop()


class OpenConnections:
    """Accepts what comes to a socket, and says nothing."""

    def __init__(self, server: socket.socket) -> None:
        self._come = 0
        self._server = server
        self._open = list[socket.socket]()

    def have_come(self, count: int) -> bool:
        """Whether that many have come by now."""
        self.count()
        return self._come >= count

    def count(self) -> int:
        """How many have come and are still there."""
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._server.accept()
                connection.setblocking(False)
                self._open.append(connection)
                self._come += 1
        self._open = [one for one in self._open if _is_open(one)]
        return len(self._open)

    def answer_the_oldest(self, answer: bytes) -> None:
        """Answer the one that has waited longest of those that are still there."""
        self.count()
        for one in self._open[:1]:
            with suppress(ConnectionError):
                one.sendall(answer)

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
    with suppress(OSError), store.transaction(name):
        store.from_bytes(name, b"1")
        raise OSError(f"{name} failed")


def banner(screen: Screen, kind: str) -> None:
    expect(screen.page.locator("#connection")).to_have_attribute("data-kind", kind)


def test_a_server_that_comes_back_fills_the_gap(
    screen: Screen, program: Program, feed: EventFeed, store: DictMemoryStore
) -> None:
    program.start(feed)
    fail(store, "before")
    screen.open(program.address)
    expect(screen.rows("failures")).to_have_count(1)

    program.stop()
    banner(screen, "lost")
    status = screen.page.locator("#connection [role=status]")
    expect(status).to_contain_text("Connection lost")
    expect(status).to_contain_text("Nobody answers")
    expect(screen.page.locator("#connection-clock")).to_have_text(re.compile(r"^[1-9]\d*\u202fs$"))
    expect(screen.page).to_have_title("Connection lost \u2013 Encore")
    for number in range(30):
        fail(store, f"meanwhile {number}")

    program.start(feed)
    banner(screen, "back")
    expect(status).to_contain_text(re.compile("Connected again after .*Nothing was missed", re.DOTALL))
    expect(screen.rows("failures")).to_have_count(31)
    expect(screen.figure("rollbacks")).to_have_text("31")
    screen.shows(operations(program.address)["totals"])
    expect(screen.page).to_have_title("Encore")


def test_what_the_buffer_has_lost_is_counted(
    screen: Screen, program: Program, store: DictMemoryStore, manager: EventManager
) -> None:
    with EventFeed(capacity=10).connect(manager) as feed:
        program.start(feed)
        screen.open(program.address)
        program.stop()
        screen.becomes("lost")
        for _ in range(50):
            store.exists("a")  # each is told twice: its start and its end
        screen.until(lambda: feed.ring.last == 100)
        program.start(feed)
        banner(screen, "missed")
        expect(screen.page.locator("#connection-text")).to_contain_text("90 events were missed")
        expect(screen.total("operations")).to_have_attribute("value", "50")
        screen.page.get_by_role("button", name="Dismiss").click()
        banner(screen, "none")


def test_another_run_of_the_program_is_told_as_such(
    screen: Screen, program: Program, feed: EventFeed, store: DictMemoryStore, manager: EventManager
) -> None:
    program.start(feed)
    fail(store, "in the first run")
    screen.open(program.address)
    expect(screen.total("rollbacks")).to_have_attribute("value", "1")
    program.stop()
    screen.becomes("lost")
    with EventFeed().connect(manager) as other:
        program.start(other)
        fail(store, "in the second run")
        fail(store, "in the second run again")
        banner(screen, "missed")
        expect(screen.page.locator("#connection-text")).to_contain_text("unknown: the program was restarted")
        expect(screen.total("rollbacks")).to_have_attribute("value", "2")
        expect(screen.rows("failures")).to_have_count(3)  # what is known of the first run stays


def test_silence_counts_as_a_lost_connection(
    screen: Screen, program: Program, store: DictMemoryStore, manager: EventManager
) -> None:
    with EventFeed(clock=lambda: 1_790_000_000.0).connect(manager) as feed:  # no second ever ends, so none is told
        program.start(feed)
        screen.page.clock.install()
        screen.page.goto(program.address)
        screen.becomes("live")
        screen.page.clock.fast_forward(9_000)
        expect(screen.page.locator("html")).to_have_attribute("data-connection", "live")
        screen.page.clock.fast_forward(2_000)
        screen.becomes("lost")
        screen.page.clock.run_for(2_000)
        screen.becomes("live")


def test_a_machine_that_says_nothing_keeps_no_connection_for_each_try(
    screen: Screen, program: Program, feed: EventFeed
) -> None:
    program.start(feed)
    screen.page.clock.install()
    screen.page.goto(program.address)
    screen.becomes("live")
    program.stop()
    with socket.create_server(("127.0.0.1", program.port)) as silent:  # it accepts, and never answers
        silent.setblocking(False)
        open_ones = OpenConnections(silent)
        for tries in range(1, 9):
            screen.becomes("lost")
            screen.page.clock.run_for(4_000)  # the next try
            screen.until(partial(open_ones.have_come, tries))
            screen.page.clock.run_for(11_000)  # which counts as lost
        screen.until(open_ones.count, lambda count: count <= 2)  # with more than six, a browser opens no other
    open_ones.close()
    program.start(feed)
    screen.page.clock.run_for(4_000)
    screen.becomes("live")


def test_a_slow_refusal_is_told_nevertheless(screen: Screen, program: Program, feed: EventFeed) -> None:
    program.start(feed)
    screen.page.clock.install()
    screen.page.goto(program.address)
    screen.becomes("live")
    program.stop()
    with socket.create_server(("127.0.0.1", program.port)) as slow:
        slow.setblocking(False)
        open_ones = OpenConnections(slow)
        screen.becomes("lost")
        screen.page.clock.run_for(4_000)
        screen.until(partial(open_ones.have_come, 1))  # it tries again
        screen.page.clock.run_for(11_000)
        screen.until(partial(open_ones.have_come, 2))  # lost again: it asks why
        screen.page.clock.run_for(4_000)
        screen.until(partial(open_ones.have_come, 3))  # and tries again, before it is told
        refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

        def told() -> str | None:
            open_ones.answer_the_oldest(refusal)
            return screen.page.locator("#connection-title").text_content()

        screen.until(told, lambda title: title == "Login needed")
    open_ones.close()


def test_a_page_that_may_not_look_any_more_says_how_to_log_in(
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
        expect(screen.page.locator("#connection-title")).to_have_text("Login needed")
        expect(screen.page.locator("#connection-text")).to_contain_text("/login?code=")
        link = observed.new_login()
        assert link is not None
        screen.page.context.new_page().goto(link)
        screen.becomes("live")


def test_a_server_that_refuses_the_stream_is_quoted(
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
    screen.becomes("live")
