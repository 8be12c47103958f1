"""Helpers of the page tests: a real browser and what its user sees."""

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
"""The width and height of a phone and of a wall display, in pixels."""

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


_SIDEWAYS = """() => [...document.querySelectorAll("main *")].filter((node) =>
    node.clientWidth > 1 && node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).overflowX !== "visible"
).map((node) => `${node.tagName} ${node.className} ${node.scrollWidth} > ${node.clientWidth}`)"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser. Without the program, skip or fail the test."""
    expect.set_options(timeout=TIMEOUT * 1000)
    program = binary("chromium", "chromium-browser", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Screen:
    """The page in a tab of its own, and the problems that the browser logs.

    Attributes:
        page: the tab.
        problems: errors and warnings of the console, and uncaught errors.
    """

    def __init__(self, browser: Browser, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open an empty tab."""
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(TIMEOUT * 1000)
        self.page: Page = context.new_page()
        self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        self.problems: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, address: str) -> None:
        """Open the URL, and wait until the page is painted."""
        self.page.goto(address)
        self.wait_for_connection("live")
        self.wait_until(self.paint_count)

    def wait_for_connection(self, connection: str) -> None:
        """Wait until the connection is 'live' or 'lost'."""
        expect(self.page.locator("html")).to_have_attribute("data-connection", connection)

    def paint_count(self) -> int:
        """Return the number of times that the page has been painted."""
        return int(self.page.locator("html").get_attribute("data-painted") or 0)

    def wait_for_paint(self) -> None:
        """Wait until the page is painted again."""
        before = self.paint_count()
        self.wait_until(self.paint_count, lambda now: now > before)

    def wait_until(self, ask: Callable[[], T], good: Callable[[T], object] = bool) -> T:
        """Return the first good answer. Playwright's own waiting needs eval, which the page forbids."""
        deadline = time.monotonic() + TIMEOUT
        while not good(answer := ask()):
            assert time.monotonic() < deadline, f"after {TIMEOUT} s it still was {answer!r}"
            self.page.wait_for_timeout(20)
        return answer

    def chart(self, name: str) -> Locator:
        """Return the card of a chart."""
        return self.page.locator(f'[data-chart="{name}"]')

    def figure(self, name: str) -> Locator:
        """Return the large number of that name."""
        return self.page.locator(f'[data-figure="{name}"] .number')

    def total(self, name: str) -> Locator:
        """Return the total of that name since the start."""
        return self.page.locator(f'[data-total="{name}"]')

    def rows(self, panel: str) -> Locator:
        """Return the rows of a list: 'in-flight', 'failures' or 'recent'."""
        return self.page.locator(f"#{panel} tbody tr")

    def pixels(self, chart: str, colour: str) -> int:
        """Return the number of pixels of a chart in a named colour of the stylesheet."""
        return int(self.page.evaluate(_PIXELS, [chart, colour]))

    def picture(self, chart: str) -> str:
        """Return the image of a chart as a data URL."""
        drawn = 'chart => document.querySelector(`[data-chart="${chart}"] canvas`).toDataURL()'
        return str(self.page.evaluate(drawn, chart))

    def wait_for_totals(self, totals: dict[str, int]) -> None:
        """Wait until the page shows these totals."""
        for name in ("operations", "errors", "read", "written", "commits", "rollbacks"):
            expect(self.total(name)).to_have_attribute("value", str(totals[name]))

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def scrolling_sideways(self) -> list[str]:
        """Return the elements that are wider inside than outside, and can be scrolled or cut their content off."""
        found: list[str] = self.page.evaluate(_SIDEWAYS)
        return found

    def violations(self) -> str:
        """Return the report of axe-core, or an empty string if it found no violation."""
        results = Axe().run(self.page)
        return str(results.generate_report()) if results.violations_count else ""

    def check(self, *schemes: str) -> None:
        """Assert that axe-core finds no violation and nothing overflows, in each size and colour scheme."""
        for width, height in SIZES:
            self.page.set_viewport_size({"width": width, "height": height})
            for scheme in schemes:
                self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                assert self.violations() == ""
            assert self.overflow() <= 0

    def unexpected_problems(self) -> list[str]:
        """Return the problems except failed requests to a server that was down or required a login."""
        return [problem for problem in self.problems if not _OUTAGE.match(problem)]

    def close(self) -> None:
        """Close the tab."""
        self.page.context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(message.text)


def operations(address: str, query: str = "") -> dict[str, Any]:
    """Return the operations from the API."""
    status, text = fetch(f"{address}api/operations{query}")
    assert status == 200, text
    found: dict[str, Any] = json.loads(text)
    return found
