"""Lines of `encore tail` that fit the width of a terminal."""

from __future__ import annotations

import io
import random
import signal
from datetime import datetime
from typing import Any, get_args

import pytest
from rich.cells import cell_len
from rich.console import Console

from encore_storage import DictMemoryStore, KeyNotFoundError
from encore_storage.cli.lines import EventLines
from encore_storage.cli.shortening import ShortNames
from encore_storage.events import Operation, Outcome, TransactionOutcome
from tests.cli.support import TIMEOUT
from tests.cli.test_terminal import Terminal

ERROR = {"type": "KeyNotFoundError", "message": "no value under key 'reports/q3' in store 'archive'"}
KEYS = [
    None,
    "",
    "a",
    "reports/2026/09/invoices.parquet",
    "日本語の鍵" * 9,
    "x" * 500,
    "\x1b[2J\n" * 30,
    "e\u0301" * 40,
]
STORES = ["archive", "s3:invoices-of-the-year", "日本語の店の名前と長さ", "x" * 300, None]


def events(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return events of all kinds with short and long fields."""
    kinds = [
        "storage.operation.ended",
        "storage.operation.progress",
        "storage.transaction.ended",
        "storage.key.updated",
    ]
    found = []
    for number in range(count):
        kind = chance.choice([*kinds, "storage.transaction.started", "events.dropped", "x" * 150])
        data = {
            "store": chance.choice(STORES),
            "key": chance.choice(KEYS),
            "notes": chance.choice(KEYS),
            "operation": chance.choice([*get_args(Operation), "a program's own " * 9]),
            "direction": chance.choice([None, "read"]),
            "bytes": chance.choice([None, 0, 999_949_999, 10**20]),
            "duration": chance.choice([None, 0.00042, 0.999, 3599.9, 1e9]),
            "operations": chance.choice([None, 1, 123_456]),
            "attempts": chance.choice([None, 3]),
            "outcome": chance.choice([*get_args(Outcome), *get_args(TransactionOutcome)]),
            "error": chance.choice([None, ERROR, {"type": "OSError", "message": "x\n" * 200}]),
        }
        day = chance.choice(["24", "25"])
        time = chance.choice([f"2026-11-{day}T16:30:00.123456Z", None])
        event = {"type": f"encore.{kind}", "time": time, "data": data}
        found.append({**event, "process": chance.choice([7, 12345])} if number > count // 2 else event)
    return found


def formatter(width: int) -> EventLines:
    now = datetime(2026, 11, 24, 23).astimezone()
    return EventLines(now=lambda: now, console=Console(file=io.StringIO(), width=width))


@pytest.mark.parametrize("width", [20, 40, 79, 80, 81, 99, 100, 120, 200])
def test_every_line_fits_the_terminal(width: int) -> None:
    lines = formatter(width)

    for event in events(random.Random(width), 150):
        first, *others = lines.line(event).plain.split("\n")
        assert [line for line in (first, *others) if cell_len(line) > width] == []
        assert first[0] != " "
        assert all(line.startswith("    ") for line in others)


def test_keys_and_errors_are_complete_where_there_is_room() -> None:
    data = {"store": "archive", "operation": "get", "key": "reports/q3", "outcome": "miss", "error": ERROR}
    event = {"type": "encore.storage.operation.ended", "time": "2026-11-24T16:30:00Z", "data": data}

    first, second = formatter(80).line(event).plain.split("\n")
    assert " reports/q3 " in first
    assert second == f"    KeyNotFoundError: {ERROR['message']}"
    assert "\n" not in formatter(200).line(event).plain


def test_long_key_is_shortened_in_the_middle() -> None:
    data = {"store": "archive", "operation": "set", "key": "reports/2026/09/invoices.parquet", "outcome": "ok"}
    event = {"type": "encore.storage.operation.ended", "time": "2026-11-24T16:30:00Z", "data": data}

    assert " reports/2…s.parquet " in formatter(80).line(event).plain
    assert str(data["key"]) in formatter(120).line(event).plain
    assert str(data["key"]) in EventLines().line(event).plain


def shown_stores(lines: EventLines, stores: list[str], key: str = "") -> list[str]:
    """Return the text of the first column after the time, of one line for each store."""
    type_ = "encore.storage.operation.ended"
    data = {"key": key, "operation": "get", "outcome": "ok"}
    return [lines.line({"type": type_, "data": {**data, "store": store}}).plain.split("  ")[1] for store in stores]


def test_store_takes_the_room_that_keys_leave_free() -> None:
    lines, stores = formatter(80), ["sqlite:orders.db", "sqlite:users.db"]

    assert shown_stores(lines, stores) == stores
    assert shown_stores(lines, stores, key="k" * 20) == ["…orders.db", "…users.db"]
    assert shown_stores(lines, stores) == ["…orders.db", "…users.db"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
@pytest.mark.parametrize(
    "stores",
    [
        ["sqlite:orders.db", "sqlite:users.db", "postgresql:orders.db", "orders.db"],
        ["s3:invoices-of-eu-west-1-archive", "s3:invoices-of-us-west-1-archive", "gs:invoices-of-us-west-1-archive"],
        [f"{'x' * 100}{number}{'x' * 100}" for number in range(50)],
        [f"日本語の店の名前と長さ{number}日本語の店の名前と長さ" for number in range(20)],
        ["https://a.example/1", "https://b.example/1", "sqlite:", "sqlite:" * 9, "…" * 30, "…" * 31],
    ],
)
def test_different_stores_stay_different(width: int, stores: list[str]) -> None:
    lines = formatter(width)

    for key in ("", "k" * 40):
        shown = shown_stores(lines, stores, key)
        assert len(set(shown)) == len(stores)
        assert shown == shown_stores(lines, stores, key)


def test_names_without_end_take_no_memory_without_end() -> None:
    names = ShortNames()

    for number in range(1500):
        names.shortened(f"{'x' * 30}{number}{'x' * 30}", 8)
    assert repr(names) == "<ShortNames: 500 forms>"


def test_lines_follow_the_size_of_the_terminal(page: str, store: DictMemoryStore) -> None:
    terminal = Terminal()
    terminal.resize(80)
    process = terminal.start("tail", page, "--since", "0")
    long = "reports/2026/09/the-invoices-of-all-customers.parquet"
    with pytest.raises(KeyNotFoundError):
        store.to_bytes(long)
    terminal.read_until("in store 'archive'")
    narrow = terminal.shown
    terminal.resize(200)
    store.from_bytes(long, b"1")
    terminal.read_until("ok")
    terminal.read_until("key set")
    process.send_signal(signal.SIGINT)
    terminal.read_to_end()
    terminal.close()

    assert process.wait(TIMEOUT) == 130
    assert max(map(cell_len, narrow.splitlines())) <= 80
    assert long in terminal.shown.removeprefix(narrow)
