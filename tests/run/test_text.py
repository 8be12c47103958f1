"""The report as text."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_storage.latencies import bucket_of
from encore_storage.run.report import OperationReport, RunReport, StoreReport
from encore_storage.run.table import width_of
from encore_storage.run.text import NOTHING, render

NAMES = st.text(st.characters(exclude_categories=()), max_size=120)
ENDED = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def operation(name: str, latencies: dict[float, int], size: int = 0, **outcomes: int) -> OperationReport:
    """Return operations by their durations, the given number of which had other outcomes than ok."""
    made, rest = OperationReport(name), sum(latencies.values()) - sum(outcomes.values())
    made.outcomes.update({"ok": rest} | outcomes)
    for duration, count in latencies.items():
        made.latencies[bucket_of(duration)] += count
        made.seconds += duration * count
    made.outer_seconds = made.seconds
    made.bytes, made.moving_seconds = size, made.seconds if size else 0
    return made


def store(name: str, backend: str, *operations: OperationReport, **attributes: Any) -> StoreReport:
    return StoreReport(name, backend, {one.name: one for one in operations}, **attributes)


def entry(key: str = "reports/2026/q3.parquet", **attributes: Any) -> dict[str, Any]:
    operation = {"store": "s3:reports", "operation": "get", "key": key, "duration": 1.5, "bytes": 1_500_000}
    return {"time": ENDED, **operation, "outcome": "ok", **attributes}


def failed(message: str | None, **attributes: Any) -> dict[str, Any]:
    words = {"outcome": "error", "error": "ClientError", "error_type": "throttled", "message": message}
    return entry(**{**words, **attributes})


def report(*stores: StoreReport, **attributes: Any) -> RunReport:
    defaults = {"processes": 3, "running": 0, "unreadable": 0, "slowest": [], "errors": []}
    return RunReport(stores=list(stores), **{**defaults, **attributes})


def ordinary() -> RunReport:
    get = operation("get", {0.010: 1180, 0.100: 24}, size=1_200_000_000, miss=12, error=3)
    get.retries = 2
    database = store(
        "sqlite:orders.db",
        "sqlite",
        operation("query", {0.0004: 120_000}),
        operation("execute", {0.002: 3}),
        transactions=Counter(committed=120, rolled_back=9, closed=40),
        transaction_seconds=2.5,
        rollbacks=Counter({f"app/etl.py:{line}": line for line in range(1, 7)} | {"": 2}),
    )
    return report(
        store("s3:reports", "s3", get, operation("set", {0.2: 10}, size=250_000_000)),
        database,
        slowest=[entry(), entry("reports/" + "long" * 30, duration=0.25, outcome="miss", bytes=0)],
        errors=[
            failed("Please reduce your request rate. " * 5 + "Thank you."),
            failed("ClientError SlowDown"),
            failed(None),
        ],
    )


def test_ordinary_report_is_readable() -> None:
    assert (
        render(ordinary(), seconds=61.2)
        == """\
121,217 storage operations took 64.2 s in 3 processes; the program ran 61.2 s

storage      count miss   hit err retry    bytes  bytes/s    p50    p99  total
s3:reports                                                              16.2 s
  get        1,204   12 99.0%   3     2   1.2 GB  84.5 MB  10 ms 101 ms 14.2 s
  set           10    -     -   -     - 250.0 MB 125.0 MB 201 ms 201 ms  2.0 s
sqlite:orders.db                                                        48.0 s
  query    120,000    -     -   -     -        -        - 401 µs 401 µs 48.0 s
  execute        3    -     -   -     -        -        -   2 ms   2 ms   6 ms

transactions        commits  rollbacks  without writes  total
  sqlite:orders.db      120          9              40  2.5 s

rolled back, by the place that began the transaction
  6  sqlite:orders.db  app/etl.py:6
  5  sqlite:orders.db  app/etl.py:5
  4  sqlite:orders.db  app/etl.py:4
  3  sqlite:orders.db  app/etl.py:3
  2  sqlite:orders.db  app/etl.py:2
  3 more in 2 other places

slowest operations
   1.5 s  get  s3:reports  reports/2026/q3.parquet  1.5 MB
  250 ms  get  s3:reports  reports/longlonglonglon…onglonglonglonglonglong  miss

last errors
  22:13:20  get  s3:reports  reports/2026/q3.parquet
    ClientError: Please reduce your …e your request rate. Thank you. (throttled)
  22:13:20  get  s3:reports  reports/2026/q3.parquet
    ClientError SlowDown (throttled)
  22:13:20  get  s3:reports  reports/2026/q3.parquet
    ClientError (throttled)
"""
    )


def test_ordinary_report_is_at_most_80_columns_wide() -> None:
    assert max(map(width_of, render(ordinary(), seconds=61.2).splitlines())) <= 80


def test_colors_are_only_added() -> None:
    colored = render(ordinary(), is_colored=True)

    assert re.sub(r"\x1b\[\d*m", "", colored) == render(ordinary())
    assert "\x1b[1mstorage" in colored
    assert re.search(r"\x1b\[31m +3\x1b\[0m", colored)
    assert "\x1b" not in render(ordinary())


def test_columns_that_are_zero_everywhere_are_left_out() -> None:
    lines = render(report(store("archive", "dict", operation("list", {0.1: 2})))).splitlines()

    assert lines[2].split() == ["storage", "count", "p50", "p99", "total"]
    assert lines[4].split() == ["list", "2", "101", "ms", "101", "ms", "200", "ms"]


def test_run_without_operations_is_one_line() -> None:
    assert render(report(processes=0), seconds=1.0) == NOTHING + "\n"


def test_processes_that_still_run_are_mentioned() -> None:
    one = render(report(store("archive", ""), running=1))
    two = render(report(store("archive", ""), running=2))

    assert one.endswith("\n1 process still runs; what it does later is not counted here\n")
    assert two.endswith("\n2 processes still run; what they do later is not counted here\n")


def test_unreadable_files_are_mentioned() -> None:
    assert "2 files of processes cannot be read; what these did is missing here" in render(report(unreadable=2))


def test_cancelled_operations_and_failed_transactions_have_columns() -> None:
    text = render(
        report(
            store(
                "archive",
                "",
                operation("get", {0.1: 2}, cancelled=1),
                transactions=Counter(commit_failed=1, rollback_failed=2),
            )
        )
    )

    assert "cancelled" in text
    assert re.search(r"^transactions +failed +total\n  archive +3 ", text, re.MULTILINE)


def test_hit_ratio_is_never_rounded_to_all() -> None:
    assert " 99.9%" in render(report(store("archive", "", operation("get", {0.1: 1_000_000}, miss=1))))


def test_names_cannot_control_the_terminal() -> None:
    evil = "a\x1b[2J\n\u202eb\udc80"
    text = render(
        report(
            store(evil, evil, operation("get", {0.1: 1}), transactions=Counter(a=1), rollbacks=Counter({evil: 1})),
            slowest=[entry(evil, store=evil)],
            errors=[failed(evil, key=evil, error=evil)],
        )
    )

    assert all(line.isprintable() for line in text.splitlines())
    assert r"a\x1b[2J\n\u202eb\udc80" in text


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=3, unique=True), NAMES)
def test_any_names_fit_the_terminal(names: list[tuple[str, str]], other: str) -> None:
    stores = [
        store(
            name,
            backend,
            operation("get_metadata", {0.1: 1000}, size=10**9, miss=1),
            transactions=Counter(rolled_back=1),
            rollbacks=Counter({other: 1}),
        )
        for name, backend in names
    ]
    entries = {"slowest": [entry(other, store=names[0][0], operation=other)]}
    errors = [failed(other, key=names[0][0], store=other, error_type="other")]

    lines = render(report(*stores, **entries, errors=errors)).splitlines()

    assert all(line.isprintable() for line in lines)
    assert max(map(width_of, lines)) <= 80
