"""The page is usable with a keyboard, a screen reader, a phone and a wall display."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from playwright.sync_api import expect
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, Monitor, monitor
from encore_storage.observing.progress import StoreProgressManager
from tests.page.conftest import Open
from tests.page.support import Screen

LONG_NAME = "reports/" * 40


def fill(store: DictMemoryStore) -> None:
    """Add an item to each list."""
    store.from_bytes(LONG_NAME, bytes(100_000))
    store.exists("no such key")
    with suppress(OSError), store.transaction(LONG_NAME):
        store.from_bytes("a", b"1")
        raise OSError(LONG_NAME * 2)
    with suppress(KeyError):
        store.to_bytes("no such key")


def test_axe_finds_no_violation_with_data_or_paused(
    screen: Screen, address: str, store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    fill(store)
    with store.transaction("open"), store.get_data(LONG_NAME) as data:
        data.read(1000)
        screen.open(address)
        expect(screen.rows("in-flight")).to_have_count(2)
        screen.check("light", "dark")
        screen.page.get_by_role("button", name="Pause").click()
        screen.check("light", "dark")


def test_axe_finds_no_violation_without_connection(
    screen: Screen, manager: EventManager, store: DictMemoryStore
) -> None:
    with monitor(manager, logs=False, registry=CollectorRegistry(), port=0) as observed:
        assert observed.page is not None
        fill(store)
        screen.open(observed.page)
    screen.wait_for_connection("lost")
    expect(screen.page.locator("#connection-text")).to_contain_text("The server does not respond")
    screen.check("light", "dark")


def test_every_control_works_with_keyboard(screen: Screen, address: str, store: DictMemoryStore) -> None:
    fill(store)
    screen.open(address)
    expect(screen.rows("failures")).to_have_count(1)
    keyboard = screen.page.keyboard
    keyboard.press("Tab")
    expect(screen.page.get_by_role("link", name="Skip to the charts")).to_be_focused()
    keyboard.press("Enter")
    expect(screen.page.locator("main")).to_be_focused()
    for chart in ("operations", "bytes", "latency", "errors", "transactions"):
        keyboard.press("Tab")
        expect(screen.chart(chart).get_by_role("img")).to_be_focused()
    headings = screen.page.locator("#operations thead button")
    for place in range(10):
        keyboard.press("Tab")
        expect(headings.nth(place)).to_be_focused()
    keyboard.press("Tab")
    expect(screen.page.locator("#failures .scroll")).to_be_focused()
    keyboard.press("Tab")
    expect(screen.page.locator("#failures summary")).to_be_focused()
    keyboard.press("Enter")
    expect(screen.page.locator("#failures details p")).to_be_visible()
    for _ in range(7 + 10):
        keyboard.press("Shift+Tab")
    expect(screen.page.get_by_role("button", name="Pause")).to_be_focused()
    keyboard.press("Space")
    expect(screen.page.get_by_role("button", name="Resume")).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(screen.page.get_by_label("Store")).to_be_focused()
    keyboard.press("ArrowDown")
    expect(screen.page).to_have_url(re.compile("#store=archive$"))


def test_keyboard_moves_cursor_as_mouse_does(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.open(address)
    for _ in range(7):
        store.exists("a")
    expect(screen.total("operations")).to_have_attribute("value", "7")
    frame = screen.chart("bytes").get_by_role("img")
    aside, figure = screen.chart("operations").locator(".aside"), screen.figure("operations")
    frame.focus()
    screen.page.keyboard.press("Home")
    expect(aside).to_have_text(re.compile(r"^at \d\d:\d\d:\d\d$"))
    expect(figure).to_have_text(re.compile(r"^[07]$"))  # of the second in which the program started
    screen.page.keyboard.press("Escape")
    expect(aside).to_contain_text("peak")
    screen.chart("latency").locator(".u-over").hover()
    expect(aside).to_have_text(re.compile(r"^at \d\d:\d\d:\d\d$"))


def test_charts_are_described_in_words(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.page.clock.install()
    screen.open(address)
    for _ in range(2):
        with suppress(OSError), store.transaction():
            raise OSError
    expect(screen.figure("rollbacks")).to_have_text("2")
    screen.page.clock.fast_forward(30_000)  # labels change every 30 s
    chart = screen.page.get_by_role(
        "img", name=re.compile(r"^Transactions over the last [\d\s]+s: 0 commits, 2 rollbacks")
    )
    expect(chart).to_be_visible()


def test_charts_use_colours_of_scheme(new_screen: Open, address: str, store: DictMemoryStore) -> None:
    screen = new_screen(scheme="dark")
    store.from_bytes("a", bytes(1000))
    screen.open(address)
    screen.wait_until(lambda: screen.pixels("bytes", "write"))
    screen.page.emulate_media(color_scheme="light")
    screen.wait_until(lambda: screen.pixels("bytes", "write"))


@pytest.mark.parametrize(("width", "height"), [(2000, 1125), (1600, 900)])
def test_wall_display_shows_everything_without_scrolling(
    new_screen: Open, address: str, store: DictMemoryStore, monitored: Monitor, width: int, height: int
) -> None:
    fill(store)
    screen = new_screen(width=width, height=height)
    screen.open(address)
    assert screen.page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0
    monitored.close()
    screen.wait_for_connection("lost")
    expect(screen.page.locator("#connection")).to_be_visible()
    assert screen.page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0


def test_long_key_breaks_after_slash(new_screen: Open, address: str, store: DictMemoryStore) -> None:
    keys = ["a/" * 3000, "ctypes/test/test_python_api.py", "/", "plain"]
    for key in keys:
        store.from_bytes(key, bytes(2770))
    screen = new_screen(width=400, height=800)
    screen.open(address)
    cells = screen.rows("recent").locator(".key code")

    assert cells.all_text_contents() == keys[::-1]
    assert [cells.nth(place).locator("wbr").count() for place in range(4)] == [0, 1, 2, 19]
    assert screen.overflow() <= 0
