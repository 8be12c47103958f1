"""The JavaScript modules of the page that use no DOM, run in a browser."""

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
    """Yield a tab that can import the modules."""
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0) as observed:
        assert observed.page is not None
        screen = Screen(browser)
        screen.page.goto(observed.page)
        yield screen
        screen.close()


def call(page: Screen, module: str, script: str, *arguments: object) -> Any:
    """Return the value of a script that gets a module as `it` and the arguments as `args`."""
    return page.page.evaluate(
        f"async (args) => {{ const it = await import('/page/{module}'); return {script}; }}", arguments
    )


def test_quantities_have_three_digits_and_unit(page: Screen) -> None:
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
        texts = call(page, "format.js", f"args[0].map((value) => it.joined(it.{name}(value)))", list(expected))
        assert [text.replace("\u202f", " ") for text in texts] == list(expected.values())
        assert call(page, "format.js", f"it.{name}(null)") == ["\u2013", ""]


def test_age_has_at_most_two_units(page: Screen) -> None:
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
    texts = call(page, "format.js", "args[0].map(it.age)", list(cases))
    assert [text.replace("\u202f", " ") for text in texts] == list(cases.values())


def process(pid: int, started: float = 1000, **changed: object) -> dict[str, Any]:
    return {"pid": pid, "name": "worker.py", "started": started, "state": "running", "ended_at": None} | changed


def history(now: float, *, run: str = "a", started: float = 1000, **columns: list[object]) -> dict[str, Any]:
    """Return a history message with some columns of seconds."""
    names = ("time", "operations", "cancelled", "errors", "read", "written", "p50", "p99", "commits", "rollbacks")
    rows = len(columns.get("time", []))
    seconds = {name: columns.get(name, [0] * rows) for name in names}
    message: dict[str, Any] = {
        "now": now,
        "run": run,
        "started": started,
        "stores": [],
        "totals": {},
        "operations": [],
        "operations_omitted": 0,
        "processes": [process(1, started)],
        "seconds": seconds,
    }
    return message | {"failures": [], "recent": [], "in_flight": [], "in_flight_total": 0, "transactions_in_flight": []}


SHOW = """(() => {
    const model = new it.Model();
    for (const [kind, message] of args[0]) model[kind](message);
    return model.snapshot();
})()"""


def test_missing_seconds_are_zero(page: Screen) -> None:
    message = history(1010.5, started=1005, time=[1007], operations=[3])
    shown = call(page, "model.js", SHOW, [["applyHistory", message]])
    assert shown["time"] == [1005, 1006, 1007, 1008, 1009]
    assert shown["operations"] == [0, 0, 3, 0, 0]
    assert shown["p99"][-3:] == [0, None, None]


@pytest.mark.parametrize(
    ("now", "begin", "end", "until"),
    [
        (1000.2, 999, 999, 1058),  # no second is complete
        (1010.5, 1000, 1009, 1059),
        (1061.0, 1000, 1060, 1060),
        (1599.9, 1000, 1598, 1598),
        (1601.0, 1001, 1600, 1600),
        (9000.0, 8400, 8999, 8999),
        (900.0, 899, 899, 958),  # the clock was set back
    ],
)
def test_time_axis_begins_with_the_program_and_grows_to_ten_minutes(
    page: Screen, now: float, begin: int, end: int, until: int
) -> None:
    shown = call(page, "model.js", SHOW, [["applyHistory", history(now)]])

    assert shown["span"] == {"begin": begin, "end": end, "until": until}
    assert shown["time"] == list(range(begin, end + 1))


SCALE = """(() => {
    const scale = new it.QuantityScale(1, [args[1] < 0 ? -5 : 0, 5], { format: String });
    scale.choose(args[0]);
    const [min, max] = scale.scale.range(null, args[1], args[2]);
    const above = (value) => scale.scale.fwd(value) - scale.scale.fwd(0);
    return {
        isLogarithmic: scale.isLogarithmic,
        marks: scale.axis.splits(null, 1, min, max, 20),
        place: above(args[3]) / above(max),
        isInverse: [min, 0, max].every((value) => Math.abs(scale.scale.bwd(scale.scale.fwd(value)) - value) < 1e-6),
    };
})()"""


@pytest.mark.parametrize("burst", [200, 5_000, 10**6, 10**9])
def test_burst_makes_scale_logarithmic_so_that_the_rest_can_be_read(page: Screen, burst: int) -> None:
    shown = call(page, "scales.js", SCALE, [[0, 4, 6, 5, burst, 0, None, 5, 4]], 0, burst, 5)

    assert (shown["isLogarithmic"], shown["isInverse"]) == (True, True)
    assert shown["place"] > 0.09
    assert shown["marks"][0] == 0
    assert 2 <= len(shown["marks"]) <= 7


def test_scale_of_steady_or_varying_values_is_linear(page: Screen) -> None:
    for values in ([], [0, None, 7], [0, 0, 500], [40, 55, 62, 90, 100, 30]):
        shown = call(page, "scales.js", SCALE, [values], 0, 100, 50)
        assert (shown["isLogarithmic"], shown["marks"]) == (False, [0, 20, 40, 60, 80, 100])


def test_logarithmic_scale_has_both_directions(page: Screen) -> None:
    shown = call(page, "scales.js", SCALE, [[3, 4, 3], [-10_000, -3, -2]], -10_000, 4, 3)

    assert shown["isLogarithmic"]
    assert shown["marks"] == sorted(shown["marks"])
    assert {0, -10_000} <= set(shown["marks"])


BOTH_SIDES = """args[0].flatMap(([read, written, burst]) => args[1].map((height) => {
    const scale = new it.QuantityScale(1000, [-1000, 1000], { format: String });
    scale.choose([[read, burst, ...Array(9).fill(read)], [-written]]);
    const [min, max] = scale.scale.range(null, -written, Math.max(read, burst));
    const least = (29 / height) * (max - min); // as uPlot chooses it, for the space that chart.js asks for
    const power = 10 ** Math.floor(Math.log10(least));
    const interval = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= least);
    const marks = scale.axis.splits(null, 1, min, max, interval);
    const places = marks.map((mark) => scale.scale.fwd(mark) * height / (scale.scale.fwd(max) - scale.scale.fwd(min)));
    return {
        isLogarithmic: scale.isLogarithmic,
        isInside: min <= marks[0] && marks.at(-1) <= max,
        hasBothSides: marks[0] < 0 && marks.includes(0) && marks.at(-1) > 0,
        least: Math.min(...places.slice(1).map((place, index) => place - places[index])),
    };
}))"""


def test_scale_of_two_sides_has_a_mark_on_each_at_every_size(page: Screen) -> None:
    sizes = (0, 1, 999, 1000, 4990, 9_990, 12_345, 2_000_000, 4_990_000, 7 * 10**9)
    columns = [(read, written, burst) for read in sizes for written in sizes for burst in (read, 30 * read)]
    shown = call(page, "scales.js", BOTH_SIDES, columns, list(range(80, 181, 10)))

    assert {one["isLogarithmic"] for one in shown} == {True, False}
    assert all(one["isInside"] and one["hasBothSides"] for one in shown)
    assert min(one["least"] for one in shown) >= 12  # pixels: the height of a label


@pytest.mark.parametrize(
    ("processes", "selected", "expected"),
    [
        ([process(7)], None, "pid 7"),
        ([process(7), process(8)], None, "2 processes"),
        ([process(7), process(8, state="ended")], None, "pid 7"),
        ([process(7), process(8)], "8", "pid 8"),
    ],
)
def test_program_has_a_name_a_host_and_its_process_or_their_number(
    page: Screen, processes: list[dict[str, Any]], selected: str | None, expected: str
) -> None:
    program = {"name": "worker.py", "host": "web-3"}

    assert call(page, "processes.js", "it.programTexts(...args)", program, processes, selected) == [
        *program.values(),
        expected,
    ]


def test_repeated_second_replaces_the_earlier_one(page: Screen) -> None:
    messages = [
        ["applyHistory", history(1010.5, time=[1009], operations=[3])],
        ["applySummary", history(1011.5, time=[1009, 1010], operations=[4, 5])],
        ["applyHistory", history(1012.5, time=[1009, 1010, 1011], operations=[4, 5, 6])],
    ]
    assert call(page, "model.js", SHOW, messages)["operations"][-3:] == [4, 5, 6]


def test_seconds_between_two_runs_are_unknown(page: Screen) -> None:
    messages = [
        ["applyHistory", history(1010.5, time=[1009], operations=[3])],
        ["applyHistory", history(1020.5, run="b", started=1015, time=[1019], operations=[7])],
    ]
    shown = call(page, "model.js", SHOW, messages)
    assert shown["marks"] == [{"time": 1015, "kind": "restarted", "pid": None}]
    assert shown["operations"][-11:] == [3, None, None, None, None, None, 0, 0, 0, 0, 7]


def test_process_that_takes_over_keeps_what_was_received(page: Screen) -> None:
    first = history(1010.5, time=[1008, 1009], operations=[3, 4])
    other = history(1020.5, run="b", time=[1008, 1011], operations=[1, 7])
    shown = call(
        page,
        "model.js",
        SHOW,
        [
            ["applyHistory", first | {"processes": [process(1), process(2)]}],
            ["applyHistory", other | {"processes": [process(2), process(3, 1015)]}],
        ],
    )
    assert shown["operations"][-12:] == [3, 4, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]
    assert shown["marks"] == [
        *({"time": 1000, "kind": "started", "pid": pid} for pid in (1, 2)),
        {"time": 1010.5, "kind": "vanished", "pid": 1},
        {"time": 1015, "kind": "started", "pid": 3},
    ]


def test_program_of_one_process_has_no_marks(page: Screen) -> None:
    assert call(page, "model.js", SHOW, [["applyHistory", history(1010.5)]])["marks"] == []


def test_processes_are_sorted_with_the_running_ones_first(page: Screen) -> None:
    processes = [process(3, state="ended"), process(2, state="vanished"), process(11), process(9)]
    assert call(page, "processes.js", "it.choices(args[0])", processes) == [
        ["9", "9 worker.py"],
        ["11", "11 worker.py"],
        ["2", "2 worker.py (vanished)"],
        ["3", "3 worker.py (ended)"],
    ]


def test_failures_are_merged_by_id_and_bounded(page: Screen) -> None:
    first = history(1010.5) | {"failures": [{"id": f"a-{n}", "time": 1000 + n} for n in range(80, 0, -1)]}
    again = history(1011.5) | {"failures": [{"id": f"a-{n}", "time": 1000 + n} for n in range(150, 50, -1)]}
    shown = call(page, "model.js", SHOW, [["applyHistory", first], ["applyHistory", again]])
    assert [one["id"] for one in shown["failures"]] == [f"a-{n}" for n in range(150, 50, -1)]


def table(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"store": "archive", "operation": "get", "rate": 0, "p50": None} | row for row in rows]


@pytest.mark.parametrize(
    ("column", "is_descending", "expected"),
    [
        ("rate", True, ["b set", "a get", "b get", "a set"]),
        ("rate", False, ["a set", "a get", "b get", "b set"]),
        ("p50", True, ["a set", "a get", "b get", "b set"]),
        ("p50", False, ["a get", "a set", "b get", "b set"]),
        ("operation", False, ["a get", "b get", "a set", "b set"]),
        ("operation", True, ["b set", "a set", "b get", "a get"]),
    ],
)
def test_operations_are_sorted_with_unknown_values_last(
    page: Screen, column: str, is_descending: bool, expected: list[str]
) -> None:
    rows = table(
        {"store": "b", "operation": "set", "rate": 3},
        {"store": "b", "rate": 2},
        {"store": "a", "rate": 2, "p50": 0.1},
        {"store": "a", "operation": "set", "rate": 1, "p50": 0.2},
    )
    shown = call(page, "operations.js", "it.sorted(...args)", rows, column, is_descending)

    assert [f"{row['store']} {row['operation']}" for row in shown] == expected
