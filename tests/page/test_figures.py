"""The figures, charts and lists of the page match the operations."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Mount

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.clients.errors import stand_in
from encore_storage.events import StoreProgressEndEvent
from encore_storage.observing import StoreObserver
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.server import create_app
from encore_storage.server.serving import Server
from tests.page.support import Screen, operations


def work(store: DictMemoryStore, count: int = 20) -> None:
    """Commit transactions with one write and one read each."""
    for number in range(count):
        with store.transaction("work"):
            store.from_bytes(f"reports/{number}", bytes(1000))
            store.to_bytes(f"reports/{number}")


def fail(store: DictMemoryStore, message: str = "disk full") -> None:
    """Roll back a transaction."""
    with pytest.raises(OSError, match=re.escape(message)), store.transaction("nightly import"):
        store.from_bytes("half", b"1")
        raise OSError(message)


def test_charts_are_drawn_and_updated(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.open(address)
    assert screen.pixels("bytes", "read") == 0
    work(store)
    fail(store)
    for chart, colour in (
        ("bytes", "read"),
        ("bytes", "write"),
        ("transactions", "commit"),
        ("transactions", "rollback"),
    ):
        screen.wait_until(lambda chart=chart, colour=colour: screen.pixels(chart, colour))  # type: ignore[misc]  # mypy cannot infer it
    before = {chart: screen.picture(chart) for chart in ("operations", "bytes", "latency", "transactions")}
    work(store, count=50)
    for chart, picture in before.items():
        screen.wait_until(lambda chart=chart: screen.picture(chart), lambda now, picture=picture: now != picture)  # type: ignore[misc]


def test_totals_match_api(screen: Screen, address: str, store: DictMemoryStore, recorder: EventRecorder) -> None:
    screen.open(address)
    work(store)
    fail(store)
    ended = len(recorder.of(StoreProgressEndEvent))
    totals = screen.wait_until(lambda: operations(address)["totals"], lambda totals: totals["operations"] == ended)
    assert (totals["written"], totals["commits"], totals["rollbacks"]) == (20_001, 20, 1)
    screen.wait_for_totals(totals)
    expect(screen.total("written")).to_have_text("20\u202fkB")


def test_rollback_is_listed_with_its_error(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.open(address)
    expect(screen.page.locator("#failures .empty")).to_be_visible()
    fail(store)
    row = screen.rows("failures").filter(has_text="rolled back")
    expect(row).to_have_count(1)
    for words in ("archive", "nightly import", "1 operation", "OSError: disk full"):
        expect(row).to_contain_text(words)
    expect(row.locator("time")).to_have_attribute("datetime", re.compile(r"^20\d\d-"))
    expect(screen.figure("rollbacks")).to_have_text("1")
    expect(screen.page.locator("#failures .empty")).to_be_hidden()


def test_transfer_in_flight_has_bar_and_age(
    screen: Screen, address: str, store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    store.from_bytes("big", bytes(1_000_000))
    screen.open(address)
    expect(screen.page.locator("#in-flight .empty")).to_be_visible()
    with store.transaction("slow"), store.get_data("big") as data:
        data.read(250_000)
        row = screen.rows("in-flight").filter(has_text="big")
        bar = row.get_by_role("progressbar", name="get big in archive")
        expect(bar).to_have_attribute("max", "1000000")
        expect(bar).to_have_attribute("value", "250000")
        expect(row).to_contain_text("25% of 1\u202fMB")
        expect(row.locator(".age")).to_have_text(re.compile(r"^[1-9]\d*\u202fs$"))
        expect(screen.rows("in-flight").filter(has_text="slow")).to_contain_text("transaction")
    expect(screen.rows("in-flight")).to_have_count(0)
    expect(screen.page.locator("#in-flight .empty")).to_be_visible()


def test_recent_operations_are_listed_latest_first(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.open(address)
    work(store, count=60)
    store.from_bytes("the last one", b"12345")
    first = screen.rows("recent").first
    expect(first).to_contain_text("the last one")
    for words in ("set", "archive", "ok", "5\u202fB"):
        expect(first).to_contain_text(words)
    assert screen.rows("recent").count() <= 50


def test_error_ratio_is_errors_per_operation(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.open(address)
    for _ in range(3):
        store.exists("a")

    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError("reset by peer")

        def close(self) -> None:
            pass

    with pytest.raises(ConnectionResetError):
        store.set("a", (Broken(), {}))
    expect(screen.figure("error-ratio")).to_have_text("25")
    expect(screen.figure("failed")).to_have_text("1")
    expect(screen.rows("failures")).to_contain_text("ConnectionResetError: reset by peer")
    assert screen.wait_until(lambda: screen.pixels("errors", "error"))


def test_store_can_be_selected(screen: Screen, address: str, store: DictMemoryStore, manager: EventManager) -> None:
    other = DictMemoryStore(name="a & b=c", event_manager=manager)
    work(store, count=3)
    work(other, count=5)
    screen.open(address)
    select = screen.page.get_by_label("Store")
    expect(select.locator("option")).to_have_text(["All stores", "a & b=c", "archive"])
    expect(screen.total("commits")).to_have_attribute("value", "8")

    select.select_option("a & b=c")
    expect(screen.total("commits")).to_have_attribute("value", "5")
    screen.wait_for_totals(operations(address, "?store=a%20%26%20b%3Dc")["totals"])
    expect(screen.rows("recent").filter(has_text="archive")).to_have_count(0)

    screen.page.reload()
    expect(select).to_have_value("=a & b=c")
    expect(screen.total("commits")).to_have_attribute("value", "5")
    screen.page.go_back()
    expect(screen.total("commits")).to_have_attribute("value", "8")


def test_pause_freezes_the_page_only(screen: Screen, address: str, store: DictMemoryStore) -> None:
    work(store, count=2)
    screen.open(address)
    expect(screen.total("commits")).to_have_attribute("value", "2")
    screen.page.get_by_role("button", name="Pause").click()
    painted = screen.paint_count()
    work(store, count=3)
    expect(screen.page.locator("#state")).to_have_text(re.compile(r"^Paused, [1-9]\d*\u202fs behind$"))
    assert (screen.paint_count(), screen.total("commits").get_attribute("value")) == (painted, "2")
    assert operations(address)["totals"]["commits"] == 5
    screen.page.get_by_role("button", name="Resume").click()
    expect(screen.total("commits")).to_have_attribute("value", "5")
    expect(screen.page.locator("#state")).to_have_text("Live")


def test_page_can_be_mounted_in_another_application(
    screen: Screen, manager: EventManager, store: DictMemoryStore
) -> None:
    application = create_app(manager, registry=CollectorRegistry())
    server = Server(Starlette(routes=[Mount("/tools/encore", application)]), "127.0.0.1", 0)
    try:
        work(store, count=2)
        screen.open(f"{server.address}tools/encore/")
        expect(screen.total("commits")).to_have_attribute("value", "2")
    finally:
        application.state.close()
        server.close()
        application.state.feed.disconnect()


@pytest.mark.parametrize(
    ("code", "text", "shown"),
    [
        (None, "", "OSError"),
        ("SlowDown", "", "OSError SlowDown"),
        (None, "no key", "OSError: no key"),
    ],
)
def test_error_of_a_client_is_named_once(
    screen: Screen, address: str, manager: EventManager, code: str | None, text: str, shown: str
) -> None:
    observer = StoreObserver("s3:invoices", event_manager=manager)
    error = stand_in(OSError(text), "other", code=code, with_text=bool(text))
    with pytest.raises(type(error)), observer.operation("get"):
        raise error
    screen.open(address)

    expect(screen.rows("failures").locator(".error")).to_have_text(shown)
