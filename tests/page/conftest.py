"""A browser, stores at work, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.monitor import Monitor
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
def observed(manager: EventManager) -> Iterator[Monitor]:
    """What serves the page."""
    with monitor(manager, logs=False, registry=CollectorRegistry(), port=0) as observed:
        yield observed


@pytest.fixture
def address(observed: Monitor) -> str:
    """Where the page is."""
    assert observed.page is not None
    return observed.page


@pytest.fixture
def store(manager: EventManager) -> DictMemoryStore:
    """A store whose operations are shown."""
    return DictMemoryStore(name="archive", event_manager=manager)
