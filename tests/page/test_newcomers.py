"""The text on the page of a program that is new, idle or replayed, or has a burst of operations."""

from __future__ import annotations

import math
import os
import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import expect
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.processes.identity import program_name
from encore_storage.recording import Recorder, replay
from tests.page.conftest import Open
from tests.page.support import Screen


def test_title_has_name_host_and_process_of_the_program(screen: Screen, address: str) -> None:
    screen.open(address)

    name, host, pid = program_name(), socket.gethostname(), f"pid {os.getpid()}"
    expect(screen.page).to_have_title(f"{name} {host} {pid} \u2013 Encore")
    expect(screen.page.get_by_role("heading", level=1)).to_have_text(f"Encore {name} · {host} · {pid}")
    expect(screen.page.locator("#replay")).to_be_hidden()


def test_figures_of_an_idle_program_do_not_repeat_the_last_busy_second(
    screen: Screen, address: str, store: DictMemoryStore
) -> None:
    store.from_bytes("a", bytes(1000))
    screen.open(address)

    expect(screen.total("operations")).to_have_attribute("value", "1")
    expect(screen.chart("operations").locator(".aside")).to_have_text(
        re.compile(r"^idle for \d+\u202fs · peak 1\u202f/s$")
    )
    expect(screen.chart("latency").locator(".aside")).to_have_text("no operation in the last second")
    for name, text in (
        ("operations", "0"),
        ("read", "0"),
        ("written", "0"),
        ("p50", "\u2013"),
        ("p99", "\u2013"),
        ("commits", "0"),
    ):
        expect(screen.figure(name)).to_have_text(text)


def test_program_with_an_operation_in_flight_is_not_idle(screen: Screen, address: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", bytes(1000))
    with store.get_data("a") as data:
        data.read(1)
        screen.open(address)
        expect(screen.rows("in-flight")).to_have_count(1)
        expect(screen.figure("operations")).to_have_text("0")
        expect(screen.chart("operations").locator(".aside")).to_have_text("peak 1\u202f/s")


def test_scale_is_labelled_as_logarithmic_after_a_burst(screen: Screen, address: str, store: DictMemoryStore) -> None:
    scale = screen.chart("operations").locator(".scale")
    screen.open(address)
    store.exists("a")
    expect(screen.figure("operations")).to_have_text("1")
    expect(scale).to_have_text("")
    for _ in range(200):
        store.exists("a")
    expect(screen.total("operations")).to_have_attribute("value", "201")
    expect(scale).to_have_text("log scale")
    expect(screen.chart("latency").locator(".scale")).to_have_text("log scale")


def test_replay_is_labelled_with_its_time(
    screen: Screen, tmp_path: Path, manager: EventManager, store: DictMemoryStore
) -> None:
    path, other = tmp_path / "events.jsonl", EventManager()
    with Recorder(path).connect(manager):
        store.from_bytes("a", b"1")
    path.write_text(re.sub(r"\"time\":\"[^\"]+\"", '"time":"2026-03-01T12:00:00Z"', path.read_text()))
    with monitor(other, logs=False, registry=CollectorRegistry(), port=0) as observed:
        assert observed.page is not None
        screen.open(observed.page)
        replay(path, other, math.inf)

        expect(screen.page.locator("#replay")).to_have_text(re.compile(r"^Replay of 1 Mar 2026, \d\d:00:00$"))
        expect(screen.page).to_have_title(re.compile("^Replay \u2013 "))


@pytest.mark.parametrize("width", [320, 400, 520])
def test_narrow_window_wraps_names_and_scrolls_nothing_sideways(
    new_screen: Open, address: str, manager: EventManager, width: int
) -> None:
    name = "s3:invoices-of-the-european-branch-in-frankfurt-and-vienna-and-zurich"
    store = DictMemoryStore(name=name, event_manager=manager)
    store.from_bytes("reports/" * 9, bytes(10**6))
    with pytest.raises(OSError, match="full"), store.transaction("import"):
        raise OSError("full")
    screen = new_screen(width=width, height=800)
    with store.transaction("nightly"):
        screen.open(address)
        expect(screen.rows("in-flight")).to_have_count(1)

        for panel in ("operations", "in-flight", "failures", "recent"):
            cell = screen.rows(panel).first.locator(":has(> .store)")
            expect(cell).to_contain_text(name)
            assert cell.evaluate("(node) => node.scrollHeight - node.clientHeight") <= 1
        assert screen.overflow() <= 0
        assert screen.scrolling_sideways() == []


def test_symbols_mean_the_same_everywhere(screen: Screen, address: str) -> None:
    screen.open(address)
    for symbol, words in (("▼", "written"), ("▲", "read"), ("↺", "rollbacks")):
        terms = screen.page.locator("dt").filter(has_text=symbol)
        expect(terms).to_have_text([re.compile(rf"^{symbol} {words}")] * 2)
