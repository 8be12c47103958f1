"""A browser, stores at work, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.page.support import Screen, chromium

Open = Callable[..., Screen]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each module: its driver is a loop in this thread, where other tests run loops of their own."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def new_screen(browser: Browser) -> Iterator[Open]:
    """Opens tabs; at the end, the browser must not have complained."""
    screens: list[Screen] = []

    def open_one(**options: object) -> Screen:
        screens.append(Screen(browser, **options))  # type: ignore[arg-type]  # as Screen takes them
        return screens[-1]

    yield open_one
    complaints = [complaint for screen in screens for complaint in screen.serious_complaints()]
    for screen in screens:
        screen.close()
    assert complaints == []


@pytest.fixture
def screen(new_screen: Open) -> Screen:
    """A tab."""
    return new_screen()


@pytest.fixture
def address(page: str) -> str:
    """Where the page is; a browser calls other things a page."""
    return page
