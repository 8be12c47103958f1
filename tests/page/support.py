"""What the tests of the page share: a real browser that looks, and what its user sees."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.dashboards.servers import TIMEOUT, binary, fetch

T = TypeVar("T")

PAGE = Path(__file__).parents[2] / "encore_storage" / "server" / "page"
"""The files of the page."""

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

SIZES = ((400, 800), (2000, 1125))
"""Width and height of a telephone, and of a screen on a wall."""

_OUTAGE = re.compile(r"^Failed to load resource: (net::ERR_|the server responded with a status of (401|503))")

_PIXELS = """([chart, name]) => {
    const canvas = document.querySelector(`[data-chart="${chart}"] canvas`);
    if (!canvas) return 0;
    const wanted = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim().slice(1);
    const [red, green, blue] = [0, 2, 4].map((start) => parseInt(wanted.slice(start, start + 2), 16));
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) {
        found += data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] > 200;
    }
    return found;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, for a block; without the program, the test is skipped, or fails."""
    expect.set_options(timeout=TIMEOUT * 1000)
    program = binary("chromium", "chromium-browser", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Screen:
    """The page in a tab of its own, and what the browser has complained of.

    Attributes:
        page: the tab.
        complaints: errors and warnings of the console, and errors that nobody caught.
    """

    def __init__(self, browser: Browser, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open an empty tab."""
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(TIMEOUT * 1000)
        self.page: Page = context.new_page()
        self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        self.complaints: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, address: str) -> None:
        """Go there, and wait until something is shown."""
        self.page.goto(address)
        self.becomes("live")
        self.until(self.painted)

    def becomes(self, connection: str) -> None:
        """Wait until the connection is 'live' or 'lost'."""
        expect(self.page.locator("html")).to_have_attribute("data-connection", connection)

    def painted(self) -> int:
        """How often it has been painted."""
        return int(self.page.locator("html").get_attribute("data-painted") or 0)

    def painted_again(self) -> None:
        """Wait until it has been painted once more."""
        before = self.painted()
        self.until(self.painted, lambda now: now > before)

    def until(self, ask: Callable[[], T], good: Callable[[T], object] = bool) -> T:
        """The first answer that is as it should be; Playwright's own way to wait needs eval, which the page forbids."""
        deadline = time.monotonic() + TIMEOUT
        while not good(answer := ask()):
            assert time.monotonic() < deadline, f"after {TIMEOUT} s it still was {answer!r}"
            self.page.wait_for_timeout(20)
        return answer

    def chart(self, name: str) -> Locator:
        """The card of a chart."""
        return self.page.locator(f'[data-chart="{name}"]')

    def figure(self, name: str) -> Locator:
        """The large number of that name."""
        return self.page.locator(f'[data-figure="{name}"] .number')

    def total(self, name: str) -> Locator:
        """What was counted since the start."""
        return self.page.locator(f'[data-total="{name}"]')

    def rows(self, panel: str) -> Locator:
        """The rows of a list: 'in-flight', 'failures' or 'recent'."""
        return self.page.locator(f"#{panel} tbody tr")

    def pixels(self, chart: str, colour: str) -> int:
        """How many pixels of a chart have that colour of the stylesheet."""
        return int(self.page.evaluate(_PIXELS, [chart, colour]))

    def picture(self, chart: str) -> str:
        """What a chart has drawn."""
        drawn = 'chart => document.querySelector(`[data-chart="${chart}"] canvas`).toDataURL()'
        return str(self.page.evaluate(drawn, chart))

    def shows(self, totals: dict[str, int]) -> None:
        """Wait until these are the totals on the page."""
        for name in ("operations", "errors", "read", "written", "commits", "rollbacks"):
            expect(self.total(name)).to_have_attribute("value", str(totals[name]))

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def violations(self) -> str:
        """What axe-core has to say, if anything."""
        results = Axe().run(self.page)
        return str(results.generate_report()) if results.violations_count else ""

    def check(self, *schemes: str) -> None:
        """No violation and no overflow, in any size."""
        for width, height in SIZES:
            self.page.set_viewport_size({"width": width, "height": height})
            for scheme in schemes:
                self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                assert self.violations() == ""
            assert self.overflow() <= 0

    def serious_complaints(self) -> list[str]:
        """The complaints, but for those that a server was not there, or wanted a login."""
        return [complaint for complaint in self.complaints if not _OUTAGE.match(complaint)]

    def close(self) -> None:
        """Close the tab."""
        self.page.context.close()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


def operations(address: str, query: str = "") -> dict[str, Any]:
    """What the API says of the operations."""
    status, text = fetch(f"{address}api/operations{query}")
    assert status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer
