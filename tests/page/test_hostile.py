"""Untrusted keys, names and messages are shown as text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from playwright.sync_api import expect

from encore_events import EventManager
from encore_storage import DictMemoryStore
from tests.page.support import Screen

HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "<script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
    "</td></tr></table><h1>hacked</h1>",
    "\u202egnp.elbisrever",
    "\ud800 half a character",
    "a" * 3000,
)


def test_hostile_text_is_shown_as_text(screen: Screen, address: str, manager: EventManager) -> None:
    store = DictMemoryStore(name="<b onclick=window.hacked=1>store</b>", event_manager=manager)
    screen.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    screen.open(address)
    for text in HOSTILE:
        store.from_bytes(text, b"1")
        with suppress(OSError), store.transaction(text):
            raise OSError(text)
    expect(screen.rows("failures")).to_have_count(len(HOSTILE))
    for text in HOSTILE[:5]:
        assert text in screen.page.locator("#failures").inner_text()
        assert text in screen.page.locator("#recent").inner_text()
    expect(screen.page.get_by_label("Store").locator("option").last).to_have_text(store.name)
    assert screen.page.locator("#lists :is(img, svg, script, h1, a)").count() == 0
    assert screen.page.evaluate("window.hacked") is None
    assert screen.overflow() <= 0


def test_injected_code_does_not_run(screen: Screen, address: str) -> None:
    response = screen.page.goto(address)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert policy == "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
    screen.wait_for_connection("live")
    assert screen.problems == []
    screen.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked = 1'>");
        document.body.setAttribute("style", "display: none");
    }""")
    screen.wait_until(lambda: len([text for text in screen.problems if "Content Security Policy" in text]) >= 3)
    assert screen.page.evaluate("window.hacked") is None
    assert screen.page.locator("body").is_visible()
    screen.problems.clear()
