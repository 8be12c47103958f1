"""Lines of `encore tail`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from encore_storage.cli.lines import EventLines

STORAGE = "encore.storage"


@pytest.fixture(autouse=True)
def time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC-1")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def lines() -> EventLines:
    return EventLines(now=lambda: datetime(2026, 11, 24, 23))  # noqa: DTZ001 (the local time)


def line(lines: EventLines, kind: str, /, **data: Any) -> str:
    return lines.line({"type": kind, "time": "2026-11-24T16:30:00.123456Z", "data": data}).plain


def ended(lines: EventLines, /, **data: Any) -> str:
    expected = {
        "store": "archive",
        "operation": "get",
        "direction": "read",
        "key": "reports/q3",
        "outcome": "ok",
        **data,
    }
    return line(lines, f"{STORAGE}.operation.ended", **expected)


def test_ended_operation_is_shown_in_columns(lines: EventLines) -> None:
    assert ended(lines, bytes=11, duration=0.00042) == (
        "17:30:00.123  archive   get        reports/q3        11 B   420 µs  ok"
    )


def test_process_is_shown_once_there_are_two(lines: EventLines) -> None:
    def shown(process: Any) -> str:
        event = {"type": "own", "time": "2026-11-24T16:30:00Z", "process": process, "data": 1}
        return lines.line(event).plain.removeprefix("17:30:00.000")

    assert [shown(pid) for pid in (7, 7, 12345, None, "x", 0, 2**40, 7)] == [
        *("  own  1", "  own  1", "    12345  own  1"),
        *("           own  1", "           own  1", "           own  1", "           own  1", "        7  own  1"),
    ]


def test_error_is_shown_last(lines: EventLines) -> None:
    error = {"type": "OSError", "message": "disk full", "error_type": "other"}

    assert ended(lines, bytes=1_500_000, duration=75, outcome="error", error=error) == (
        "17:30:00.123  archive   get        reports/q3      1.5 MB   75.0 s  error  OSError: disk full"
    )


@pytest.mark.parametrize(("attempts", "end"), [(3, "ok  3 attempts"), (1, "ok"), (None, "ok"), ("many", "ok")])
def test_attempts_are_shown_after_retries(lines: EventLines, attempts: object, end: str) -> None:
    assert ended(lines, outcome="ok", attempts=attempts).endswith(f"  {end}")


@pytest.mark.parametrize(
    ("type_", "message", "shown"),
    [
        ("OSError", None, "  OSError"),
        ("OSError", "", "  OSError"),
        ("OSError", " ", "  OSError"),
        ("FileNotFoundError", "FileNotFoundError", "  FileNotFoundError"),
        ("OperationalError", "OperationalError SQLITE_ERROR", "  OperationalError SQLITE_ERROR"),
        ("NoSuchKey", "NoSuchKey: no such key", "  NoSuchKey: no such key"),
        ("Timeout", "Timeouts are short", "  Timeout: Timeouts are short"),
        ("KeyError", "OSError: KeyError", "  KeyError: OSError: KeyError"),
        ("", "disk full", "  disk full"),
        (None, None, ""),
        ("", " ", ""),
    ],
)
def test_error_is_shown_with_its_type_once(lines: EventLines, type_: object, message: object, shown: str) -> None:
    line = ended(lines, outcome="error", error={"type": type_, "message": message})

    assert line.partition("  error")[2] == shown


@pytest.mark.parametrize(
    ("outcome", "operations", "expected"),
    [
        ("committed", 1, "commit import 1 op 2 ms committed"),
        ("rolled_back", 0, "rollback import 0 ops 2 ms rolled_back"),
        ("closed", 3, "close import 3 ops 2 ms closed"),
        ("commit_failed", 2000, "commit import 2,000 ops 2 ms commit_failed"),
        ("rollback_failed", 2, "rollback import 2 ops 2 ms rollback_failed"),
    ],
)
def test_ended_transaction_is_shown_with_its_notes(
    lines: EventLines, outcome: str, operations: int, expected: str
) -> None:
    data = {"store": "archive", "outcome": outcome, "operations": operations, "notes": "import", "duration": 0.002}

    assert line(lines, f"{STORAGE}.transaction.ended", **data).split() == ["17:30:00.123", "archive", *expected.split()]


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("operation.started", {"operation": "get", "key": "a"}, "get a started"),
        (
            "operation.progress",
            {"operation": "get", "key": "a", "direction": "read", "step": 99},
            "get a 99 B progress",
        ),
        ("transaction.started", {"notes": "import"}, "begin import started"),
        ("key.updated", {"key": "a", "action": "update"}, "key updated a"),
    ],
)
def test_other_store_events_are_shown(lines: EventLines, kind: str, data: dict[str, Any], expected: str) -> None:
    shown = line(lines, f"{STORAGE}.{kind}", store="archive", **data)

    assert shown.split() == ["17:30:00.123", "archive", *expected.split()]


def test_bytes_are_shown_only_with_a_direction(lines: EventLines) -> None:
    assert " B " not in ended(lines, operation="exists", direction=None, bytes=0)
    assert " 0 B " in ended(lines, bytes=0)


def test_unknown_type_is_shown_with_its_data(lines: EventLines) -> None:
    assert line(lines, "python.shop.Sold", what="é\n", count=2) == (
        '17:30:00.123  python.shop.Sold  {"what": "é\\n", "count": 2}'
    )


def test_columns_grow_and_stay_aligned(lines: EventLines) -> None:
    first, *others = (ended(lines, key=key, bytes=11) for key in ("k" * 30, "short", "日本", "x" * 99))
    short, wide, long = others

    assert first.index("11 B") == short.index("11 B") == wide.index("11 B") + 2  # each takes two columns
    assert f"{'x' * 99}      11 B" in long


def test_other_days_show_the_date() -> None:
    lines = EventLines(now=lambda: datetime(2026, 11, 26))  # noqa: DTZ001 (the local time)

    assert ended(lines).startswith("2026-11-24 17:30:00.123  archive")


@pytest.mark.parametrize("moment", [None, 5, "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"])
def test_invalid_time_is_shown_as_dashes(lines: EventLines, moment: object) -> None:
    assert lines.line({"type": "a.b", "time": moment, "data": {}}).plain == "--:--:--.---  a.b  {}"


def test_hostile_key_is_escaped(lines: EventLines) -> None:
    shown = ended(lines, key="a\nb\r\x1b[2J\x07\u202e\ud800[red]x[/red]", store="s\tt")

    assert shown.isprintable()
    assert r"a\nb\r\x1b[2J\x07\u202e\ud800[red]x[/red]" in shown
    assert r"s\tt" in shown


@pytest.mark.parametrize("kind", ["operation.", "transaction.", "key.", "else."])
def test_hostile_type_is_escaped(lines: EventLines, kind: str) -> None:
    shown = line(lines, f"{STORAGE}.{kind}\x1b[2J\x1b]0;owned\x07\nforged")

    assert shown.isprintable()
    assert r"\x1b[2J\x1b]0;owned\x07\nforged" in shown


@pytest.mark.parametrize("value", [None, True, -1, 10**400, 1e400, float("nan"), "11", [], {"a": ["\n"]}])
@pytest.mark.parametrize("name", ["store", "operation", "direction", "key", "bytes", "duration", "outcome", "error"])
def test_data_of_wrong_types_is_shown(lines: EventLines, name: str, value: object) -> None:
    assert ended(lines, **{name: value}).isprintable()


@pytest.mark.parametrize("data", [None, 5, "text", ["a"]])
@pytest.mark.parametrize("kind", [f"{STORAGE}.operation.ended", f"{STORAGE}.transaction.ended", "a.b"])
def test_event_without_data_is_shown(lines: EventLines, kind: str, data: object) -> None:
    assert lines.line({"type": kind, "time": None, "data": data}).plain.startswith("--:--:--.---")


def test_deeply_nested_data_is_shortened(lines: EventLines) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert line(lines, "a.b", deep=deep).endswith("a.b  ...")


def test_started_events_are_dim_and_outcomes_coloured(lines: EventLines) -> None:
    event = {"type": f"{STORAGE}.operation.ended", "time": None, "data": {"outcome": "error"}}

    assert "red" in {str(span.style) for span in lines.line(event).spans}
    assert str(lines.line({**event, "type": f"{STORAGE}.operation.started"}).spans[-1].style) == "dim"
