"""The table of operations by store: its figures, and how it is sorted."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from playwright.sync_api import Locator, expect

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.observing import StoreObserver
from tests.page.conftest import Open
from tests.page.support import Screen

COLUMNS = ["rate", "errors", "misses", "hit_ratio", "retries", "bytes_per_second", "p50", "p99", "in_flight"]


@pytest.fixture
def observer(manager: EventManager) -> StoreObserver:
    return StoreObserver("s3:invoices", event_manager=manager, misses=(KeyError,))


def work(observer: StoreObserver) -> None:
    """Read eight values, one after a retry, miss two, and fail to list one."""
    for number in range(8):
        with observer.operation("get", "a", direction="read") as operation:
            operation.count(1000)
            operation.attempts = 1 + (number == 0)
    for _ in range(2):
        with suppress(LookupError), observer.operation("get", "b", direction="read"):
            raise LookupError  # not one of `misses`
    for _ in range(2):
        with suppress(KeyError), observer.operation("get", "b", direction="read"):
            raise KeyError("b")
    with observer.operation("list") as operation:
        operation.items = 3


def cells(row: Locator) -> dict[str, str]:
    return {name: row.locator(f'[data-column="{name}"]').inner_text().replace("\u202f", " ") for name in COLUMNS}


def names(screen: Screen) -> list[str]:
    return screen.rows("operations").locator("th").all_inner_texts()


def test_table_has_a_row_for_each_operation_of_each_store(
    screen: Screen, address: str, observer: StoreObserver
) -> None:
    work(observer)
    with observer.operation("get", "c", direction="read"):
        screen.open(address)
        expect(screen.rows("operations")).to_have_count(2)
        get = cells(screen.rows("operations").filter(has_text="get"))
        listed = cells(screen.rows("operations").filter(has_text="list"))

    assert (get["errors"], get["misses"], get["hit_ratio"], get["retries"]) == ("2", "2", "80%", "1")
    assert get["in_flight"] == "1"
    assert re.fullmatch(r"[\d.]+ /s", get["rate"])
    assert re.fullmatch(r"[\d.]+ k?B/s", get["bytes_per_second"])
    assert re.fullmatch(r"[\d.]+ (ns|µs|ms)", get["p99"])
    dashes = [name for name, text in listed.items() if text == "\u2013"]
    assert dashes == ["errors", "misses", "hit_ratio", "retries", "bytes_per_second", "in_flight"]


def test_table_is_empty_before_the_first_operation(screen: Screen, address: str, observer: StoreObserver) -> None:
    screen.open(address)
    panel = screen.page.locator("#operations")
    expect(panel.locator(".empty")).to_be_visible()
    expect(panel.locator("button").first).to_be_hidden()

    work(observer)
    expect(panel.locator(".empty")).to_be_hidden()
    expect(panel.locator(".note")).to_have_text("by store")


def test_table_is_sorted_by_the_selected_column(screen: Screen, address: str, observer: StoreObserver) -> None:
    work(observer)
    screen.open(address)
    heading = screen.page.get_by_role("columnheader", name="Operation")
    rate = screen.page.locator('#operations [data-sort="rate"]')
    expect(rate).to_have_attribute("aria-sort", "descending")
    assert names(screen) == ["get s3:invoices", "list s3:invoices"]

    rate.get_by_role("button").click()
    expect(rate).to_have_attribute("aria-sort", "ascending")
    assert names(screen) == ["list s3:invoices", "get s3:invoices"]

    heading.first.get_by_role("button").press("Enter")
    expect(heading.first).to_have_attribute("aria-sort", "ascending")
    expect(screen.page.locator("#operations [aria-sort]")).to_have_count(1)
    assert names(screen) == ["get s3:invoices", "list s3:invoices"]
    screen.page.keyboard.press("Space")
    expect(heading.first).to_have_attribute("aria-sort", "descending")
    assert names(screen) == ["list s3:invoices", "get s3:invoices"]


def test_order_stays_when_figures_change_and_focus_stays_on_the_heading(
    screen: Screen, address: str, observer: StoreObserver
) -> None:
    work(observer)
    screen.open(address)
    button = screen.page.locator('#operations [data-sort="operation"] button')
    button.press("Enter")
    for _ in range(50):
        with observer.operation("list"):
            pass
    expect(screen.total("operations")).to_have_attribute("value", "63")

    assert names(screen) == ["get s3:invoices", "list s3:invoices"]
    expect(button).to_be_focused()


def test_paused_table_can_be_sorted(screen: Screen, address: str, observer: StoreObserver) -> None:
    work(observer)
    screen.open(address)
    screen.page.get_by_role("button", name="Pause").click()
    work(observer)
    before = screen.rows("operations").first.inner_text()
    screen.page.locator('#operations [data-sort="rate"] button').click()

    assert names(screen) == ["list s3:invoices", "get s3:invoices"]
    assert screen.rows("operations").last.inner_text() == before


def test_table_follows_the_selected_store(
    screen: Screen, address: str, observer: StoreObserver, store: DictMemoryStore
) -> None:
    work(observer)
    store.exists("a")
    screen.open(f"{address}#store=archive")

    expect(screen.rows("operations")).to_have_count(1)
    assert names(screen) == ["exists archive"]


@pytest.mark.parametrize("width", [400, 1280, 1600])
def test_axe_finds_no_violation_in_the_table(
    new_screen: Open, address: str, observer: StoreObserver, width: int
) -> None:
    work(observer)
    screen = new_screen(width=width, height=900)
    screen.open(address)
    expect(screen.rows("operations")).to_have_count(2)
    last = screen.page.locator('#operations [data-sort="in_flight"] button')
    last.focus()

    expect(last).to_be_in_viewport()
    assert screen.violations() == ""
    assert screen.overflow() <= 0


@pytest.mark.parametrize("column", COLUMNS)
def test_table_is_sorted_by_each_column(screen: Screen, address: str, observer: StoreObserver, column: str) -> None:
    work(observer)
    with observer.operation("list"):
        screen.open(address)
        expect(screen.rows("operations")).to_have_count(2)
        heading = screen.page.locator(f'#operations [data-sort="{column}"]')
        if column != "rate":  # the first order
            heading.get_by_role("button").click()

        expect(heading).to_have_attribute("aria-sort", "descending")
        largest = screen.rows("operations").first.locator(f'[data-column="{column}"]')
        assert largest.inner_text() != "\u2013"


def test_sixty_long_rows_fit_a_phone_with_their_names_whole(
    new_screen: Open, address: str, manager: EventManager
) -> None:
    names = [f"s3:{'invoices-of-the-north-' * 4}{number}" for number in range(30)]
    for name in names:
        for kind in ("get", "get_metadata"):
            with StoreObserver(name, event_manager=manager).operation(kind):
                pass
    screen = new_screen(width=400, height=800)
    screen.open(address)
    expect(screen.rows("operations")).to_have_count(60)
    heading = screen.rows("operations").locator("th").first
    expect(heading).to_have_text(re.compile(r"^get(_metadata)? s3:(invoices-of-the-north-){4}\d+$"))

    box, panel = heading.bounding_box(), screen.page.locator("#operations").bounding_box()
    assert box is not None
    assert panel is not None
    assert panel["x"] < box["x"] < box["x"] + box["width"] < panel["x"] + panel["width"]
    assert heading.evaluate("(node) => node.scrollWidth - node.clientWidth") <= 0
    assert screen.scrolling_sideways() == []
    assert heading.get_attribute("title") in {f"{kind} {name}" for kind in ("get", "get_metadata") for name in names}
    assert screen.overflow() <= 0


def test_heading_that_gets_the_focus_is_beside_the_names(
    new_screen: Open, address: str, observer: StoreObserver
) -> None:
    work(observer)
    screen = new_screen(width=400, height=800)
    screen.open(address)
    screen.page.locator('#operations [data-sort="in_flight"] button').focus()
    rate = screen.page.locator('#operations [data-sort="rate"] button')
    rate.focus()

    box, names = rate.bounding_box(), screen.page.locator("#operations thead th").first.bounding_box()
    assert box is not None
    assert names is not None
    assert box["x"] >= names["x"] + names["width"]
