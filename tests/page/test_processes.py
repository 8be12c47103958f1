"""Several processes on one page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.processes.info import ProcessInfo
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from encore_storage.server import EventFeed, create_app
from encore_storage.server.serving import Server
from tests.page.conftest import Open
from tests.page.support import Screen
from tests.processes.link_support import Child, children

OPEN = "store.from_bytes('a', b'1'); stream = store.get_data('a'); stream.read(1)"


class Group:
    """A process that serves, which is this one, and three others.

    Attributes:
        address: of the page.
        members: the other processes.
    """

    def __init__(self, address: str, members: list[Child]) -> None:
        self.address = address
        self.members = members


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    path = tmp_path / "events.sock"
    feed = EventFeed().connect(EventManager())
    receiver = Receiver(path, feed)
    receiver.start()
    app = create_app(feed=feed, registry=CollectorRegistry())
    server = Server(app, "127.0.0.1", 0)
    try:
        with children(path, 3) as members:
            for member in members:
                member.run(OPEN)
            yield Group(server.address, members)
    finally:
        app.state.close()
        server.close()
        receiver.close()
        feed.disconnect()


def test_page_of_one_process_shows_no_processes(screen: Screen, address: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    with store.get_data("a") as data:
        data.read(1)
        screen.open(address)

        expect(screen.rows("in-flight")).to_have_count(1)
        expect(screen.page.locator("#process")).to_be_hidden()
        expect(screen.rows("in-flight").locator(".several")).to_be_hidden()


def test_rows_name_their_process(screen: Screen, group: Group) -> None:
    screen.open(group.address)

    expect(screen.rows("in-flight")).to_have_count(3)
    for panel in ("in-flight", "recent"):
        for member in group.members:
            row = screen.rows(panel).filter(has_text=f"pid {member.pid}")
            expect(row.locator(".several").first).to_be_visible()


LONG = "DictMemoryStore(name='s3:invoices-of-the-european-branch', event_manager=manager)"


@pytest.mark.parametrize("width", [400, 1280])
def test_process_of_a_store_with_a_long_name_is_visible(new_screen: Open, group: Group, width: int) -> None:
    member, screen = group.members[0], new_screen(width=width)
    member.run(f"store = {LONG}; {OPEN}")
    screen.open(group.address)

    for panel in ("in-flight", "recent"):
        about = screen.rows(panel).filter(has_text="s3:invoices").locator(".about").first
        expect(about).to_be_visible()
        cell, pid = about.bounding_box(), about.locator(".several").bounding_box()
        assert cell is not None
        assert pid is not None
        assert pid["x"] + pid["width"] <= cell["x"] + cell["width"]


def test_selected_process_is_shown_alone_and_part_of_the_address(screen: Screen, group: Group) -> None:
    chosen, other = group.members[:2]
    screen.open(group.address)
    expect(screen.total("operations")).to_have_attribute("value", "3")
    screen.page.get_by_label("Process", exact=True).select_option(label=f"{chosen.pid} python")

    expect(screen.total("operations")).to_have_attribute("value", "1")
    expect(screen.rows("in-flight")).to_have_count(1)
    expect(screen.rows("in-flight")).to_contain_text(f"pid {chosen.pid}")
    screen.page.get_by_label("Store").select_option(label="archive")
    expect(screen.page).to_have_url(f"{group.address}#process={chosen.pid}&store=archive")

    screen.open(f"{group.address}#process={other.pid}")
    expect(screen.page.get_by_label("Process", exact=True)).to_have_value(f"={other.pid}")
    expect(screen.rows("in-flight")).to_contain_text(f"pid {other.pid}")
    screen.page.get_by_label("Process", exact=True).select_option(label="All processes")
    expect(screen.total("operations")).to_have_attribute("value", "3")


def test_unknown_process_is_explained(screen: Screen, group: Group) -> None:
    screen.open(f"{group.address}#process=1")

    expect(screen.page.locator("#nothing")).to_contain_text("No operation of the process “1” has been seen yet.")


def test_process_that_vanishes_is_marked(screen: Screen, group: Group) -> None:
    ended, vanished, _ = group.members
    screen.open(group.address)
    assert screen.pixels("operations", "error") == 0

    ended.run("close()")
    vanished.process.kill()

    expect(screen.page.locator("#process option").nth(-1)).to_have_text(re.compile(r"\((ended|vanished)\)"))
    expect(screen.rows("in-flight")).to_have_count(1)
    screen.wait_until(lambda: screen.pixels("operations", "error"))
    options = screen.page.locator("#process option").all_inner_texts()
    assert f"{ended.pid} python (ended)" in options
    assert f"{vanished.pid} python (vanished)" in options
    screen.chart("operations").locator(".plot").press("End")
    expect(screen.chart("operations").locator(".aside")).to_have_text(re.compile(r"^at \d\d:\d\d:\d\d"))


def test_page_of_processes_is_usable(new_screen: Open, group: Group) -> None:
    screen = new_screen()
    screen.open(group.address)
    expect(screen.rows("in-flight")).to_have_count(3)
    group.members[0].process.kill()
    expect(screen.rows("in-flight")).to_have_count(2)

    screen.check("light", "dark")


def test_page_follows_the_process_that_takes_over(screen: Screen, tmp_path: Path) -> None:
    path, manager = tmp_path / "events.sock", EventManager()
    first = EventFeed(process=ProcessInfo(1, "first.py", 1000.0))
    member = EventFeed(process=ProcessInfo(2, "second.py", 1001.0))
    sender = Sender(path, member.own.process)
    member.forward_to(sender)
    member.connect(manager)
    store = DictMemoryStore(name="archive", event_manager=manager)
    receiver = Receiver(path, first)
    receiver.start()
    assert sender.connect()
    app = create_app(feed=first, registry=CollectorRegistry())
    server = Server(app, "127.0.0.1", 0)
    store.from_bytes("a", b"1")
    screen.open(server.address)
    expect(screen.total("operations")).to_have_attribute("value", "1")

    app.state.close()
    server.close()
    receiver.close()
    assert sender.wait_closed(10)
    store.from_bytes("b", b"1")
    member.serve()
    app = create_app(feed=member, registry=CollectorRegistry())
    server = Server(app, "127.0.0.1", server.port)
    try:
        screen.wait_for_connection("live")
        expect(screen.page.locator("#connection")).to_contain_text("another one serves it")
        expect(screen.total("operations")).to_have_attribute("value", "2")
    finally:
        app.state.close()
        server.close()
        member.disconnect()
