"""The work of the page does not grow with the number of events."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import expect

from encore_storage import DictMemoryStore
from encore_storage.observing.progress import StoreProgressManager
from tests.page.support import Screen, operations

OPERATIONS = 30_000

_PAINTED = "[Number(document.documentElement.dataset.painted), performance.now() / 1000]"

_FRAMES = """() => new Promise((done) => {
    let frames = 0;
    const count = () => (++frames === 20 ? done(frames) : requestAnimationFrame(count));
    requestAnimationFrame(count);
})"""


def test_many_operations_do_not_freeze_the_page(screen: Screen, address: str, store: DictMemoryStore) -> None:
    screen.open(address)
    before = screen.page.evaluate(_PAINTED)
    busy = threading.Thread(target=lambda: [store.exists(f"key {number}") for number in range(OPERATIONS)])
    busy.start()
    screen.wait_for_paint()
    assert screen.page.evaluate(_FRAMES) == 20
    screen.page.get_by_role("button", name="Pause").click()
    screen.page.get_by_role("button", name="Resume").click()
    busy.join()
    last = screen.wait_until(
        lambda: operations(address),
        lambda found: found["last_event_id"].endswith(f"-{2 * OPERATIONS}"),  # a start and an end event each
    )
    screen.wait_for_totals(last["totals"])
    expect(screen.page.locator("#state")).to_have_text("Live")
    assert screen.page.locator("#lists tbody tr").count() <= 50 + 100 + 100
    painted, seconds = (now - then for now, then in zip(screen.page.evaluate(_PAINTED), before, strict=True))
    assert painted <= seconds + 1


def test_page_has_no_animations(
    screen: Screen, address: str, store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreProgressManager, "min_interval", 0)
    store.from_bytes("big", bytes(1_000_000))
    screen.open(address)
    with store.get_data("big") as data:
        data.read(1000)
        expect(screen.page.get_by_role("progressbar")).to_have_count(1)
        assert screen.page.evaluate("document.getAnimations().length") == 0  # an animation is painted continuously
