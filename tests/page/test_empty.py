"""The page of a program whose stores have not been used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import monitor
from tests.page.support import Screen


@pytest.fixture(scope="module")
def screen(browser: Browser) -> Iterator[Screen]:
    """Yield one tab for all tests, since its page never changes."""
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0) as observed:
        assert observed.page is not None
        screen = Screen(browser)
        screen.open(observed.page)
        yield screen
        screen.close()
    assert screen.problems == []


def test_idle_program_shows_zero_rate_and_unknown_latency(screen: Screen) -> None:
    expect(screen.page.locator("#nothing")).to_be_visible()
    expect(screen.figure("operations")).to_have_text("0")
    expect(screen.figure("p99")).to_have_text("\u2013")


def test_selected_store_without_operations_is_named(screen: Screen) -> None:
    screen.page.evaluate("location.hash = 'store=elsewhere'")
    expect(screen.page.locator("#nothing")).to_contain_text("No operation of the store “elsewhere” has been seen yet.")
    screen.page.evaluate("location.hash = ''")
    expect(screen.page.locator("#nothing")).to_contain_text("No operation has been seen yet.")


def test_axe_finds_no_violation_on_empty_page(screen: Screen) -> None:
    screen.check("light", "dark")


def test_only_connection_is_announced(screen: Screen) -> None:
    live = screen.page.locator("[aria-live], [role=status], [role=alert], [role=log], output")
    expect(live).to_have_count(1)
    assert live.inner_text().strip() == ""


def test_headings_and_landmarks_are_ordered(screen: Screen) -> None:
    levels = screen.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((node) => node.tagName)")
    assert levels == ["H1", "H2", *["H3"] * 6, "H2", "H2", "H2", "H2"]
    expect(screen.page.get_by_role("banner")).to_have_count(1)
    expect(screen.page.get_by_role("main")).to_have_count(1)
    expect(screen.page.get_by_role("region", name="In flight")).to_have_count(1)
