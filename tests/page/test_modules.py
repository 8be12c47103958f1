"""The modules of the page that need no page, in the browser that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import monitor
from tests.page.support import Screen


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Screen]:
    """Where the modules come from."""
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0) as observed:
        assert observed.page is not None
        screen = Screen(browser)
        screen.page.goto(observed.page)
        yield screen
        screen.close()


def call(page: Screen, module: str, script: str, *arguments: object) -> Any:
    """What a function of a module gives, or what a script does with the module as `it`."""
    return page.page.evaluate(
        f"async (given) => {{ const it = await import('/page/{module}'); return {script}; }}", arguments
    )


def test_quantities_have_three_digits_and_a_unit(page: Screen) -> None:
    cases: dict[str, dict[float, str]] = {
        "bytes": {0: "0 B", 999: "999 B", 1000: "1 kB", 12_345: "12.3 kB", 999_999: "1 MB", 4_200_000_000: "4.2 GB"},
        "rate": {0: "0 /s", 0.25: "0.25 /s", 1204: "1,204 /s", 15_400: "15.4 k/s"},
        "duration": {
            0: "0 s",
            1.5e-7: "150 ns",
            0.000_752: "752 µs",
            0.0459: "45.9 ms",
            0.9996: "1 s",
            75: "75 s",
            150: "2 min 30 s",
        },
        "percent": {0: "0%", 0.000_001: "<0.01%", 0.25: "25%", 1: "100%"},
    }
    for name, expected in cases.items():
        told = call(page, "format.js", f"given[0].map((value) => it.joined(it.{name}(value)))", list(expected))
        assert [text.replace("\u202f", " ") for text in told] == list(expected.values())
        assert call(page, "format.js", f"it.{name}(null)") == ["\u2013", ""]


def test_ages_have_at_most_two_parts(page: Screen) -> None:
    cases = {
        0: "0 s",
        0.9: "0 s",
        59: "59 s",
        60: "1 min",
        3_725: "1 h 2 min",
        86_400: "1 d",
        200_000: "2 d 7 h",
        -3: "0 s",
    }
    told = call(page, "format.js", "given[0].map(it.age)", list(cases))
    assert [text.replace("\u202f", " ") for text in told] == list(cases.values())


def history(now: float, *, run: str = "a", started: float = 1000, **columns: list[object]) -> dict[str, Any]:
    names = ("time", "operations", "cancelled", "errors", "read", "written", "p50", "p99", "commits", "rollbacks")
    rows = len(columns.get("time", []))
    seconds = {name: columns.get(name, [0] * rows) for name in names}
    told: dict[str, Any] = {"now": now, "run": run, "started": started, "stores": [], "totals": {}, "seconds": seconds}
    return told | {"failures": [], "recent": [], "in_flight": [], "in_flight_total": 0, "transactions_in_flight": []}


SHOW = """(() => {
    const model = new it.Model();
    for (const [kind, told] of given[0]) model[kind](told);
    return model.snapshot();
})()"""


def test_seconds_of_which_nothing_is_told_are_empty_and_those_before_the_start_unknown(page: Screen) -> None:
    told = history(1010.5, started=1005, time=[1007], operations=[3])
    shown = call(page, "model.js", SHOW, [["takeHistory", told]])
    assert (shown["time"][0], shown["time"][-1], len(shown["time"])) == (410, 1009, 600)
    assert shown["operations"][-6:] == [None, 0, 0, 3, 0, 0]
    assert shown["p99"][-3:] == [0, None, None]


def test_a_second_that_is_told_again_replaces_what_was_told(page: Screen) -> None:
    told = [
        ["takeHistory", history(1010.5, time=[1009], operations=[3])],
        ["takeSummary", history(1011.5, time=[1009, 1010], operations=[4, 5])],
        ["takeHistory", history(1012.5, time=[1009, 1010, 1011], operations=[4, 5, 6])],
    ]
    assert call(page, "model.js", SHOW, told)["operations"][-3:] == [4, 5, 6]


def test_between_two_runs_nothing_is_known(page: Screen) -> None:
    told = [
        ["takeHistory", history(1010.5, time=[1009], operations=[3])],
        ["takeHistory", history(1020.5, run="b", started=1015, time=[1019], operations=[7])],
    ]
    shown = call(page, "model.js", SHOW, told)
    assert shown["restarts"] == [1015]
    assert shown["operations"][-11:] == [3, None, None, None, None, None, 0, 0, 0, 0, 7]


def test_failures_are_merged_by_their_id_and_bounded(page: Screen) -> None:
    first = history(1010.5) | {"failures": [{"id": f"a-{n}", "time": 1000 + n} for n in range(80, 0, -1)]}
    again = history(1011.5) | {"failures": [{"id": f"a-{n}", "time": 1000 + n} for n in range(150, 50, -1)]}
    shown = call(page, "model.js", SHOW, [["takeHistory", first], ["takeHistory", again]])
    assert [one["id"] for one in shown["failures"]] == [f"a-{n}" for n in range(150, 50, -1)]
