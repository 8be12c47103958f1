"""Fixtures of the page tests: a browser, its tabs and the URL of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.page.support import Screen, chromium
from tests.sharing import Shared

Open = Callable[..., Screen]

BROWSER = Shared[Browser]("browser", lambda starting: starting.enter_context(chromium()))


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Browser:
    """Return the browser, which consecutive tests share."""
    return BROWSER.get(request.config)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Close the browser before a test without it. Its driver runs an event loop in the thread of the tests."""
    BROWSER.stop_before(nextitem, item.config)


@pytest.fixture
def new_screen(browser: Browser) -> Iterator[Open]:
    """Yield a function that opens tabs, and assert afterwards that the browser logged no problem."""
    screens: list[Screen] = []

    def open_screen(**options: object) -> Screen:
        screens.append(Screen(browser, **options))  # type: ignore[arg-type]  # the options of Screen
        return screens[-1]

    yield open_screen
    problems = [problem for screen in screens for problem in screen.unexpected_problems()]
    for screen in screens:
        screen.close()
    assert problems == []


@pytest.fixture
def screen(new_screen: Open) -> Screen:
    """Return a tab."""
    return new_screen()


@pytest.fixture
def address(page: str) -> str:
    """Return the URL of the page. Playwright calls its tabs pages."""
    return page
