"""Counts of the last minute by store and operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from encore_storage.events import StoreProgressEndEvent
from encore_storage.server.operation_table import OperationTable
from encore_storage.server.operation_table import rows as rows_of
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES

STARTED = 1000.0


def end(operation: str = "get", store: str = "archive", outcome: str = "ok", **more: Any) -> StoreProgressEndEvent:
    attributes = {"duration": 0.01, "delta": 0, **more}
    return StoreProgressEndEvent(store=store, operation=operation, outcome=outcome, **attributes)


def rows(
    table: OperationTable, now: float, *stores: str, in_flight: Mapping[tuple[str, str], int] | None = None
) -> list[dict[str, Any]]:
    return rows_of([table], now, STARTED, stores, in_flight or {}, 100)[0]


@pytest.fixture
def table() -> OperationTable:
    return OperationTable()


def test_row_has_the_counts_of_an_operation(table: OperationTable) -> None:
    table.count_bytes(1001.0, "archive", "get", 400)
    table.count_end(1002.0, end(delta=100, attempts=3))
    table.count_end(1003.0, end(outcome="miss", duration=0.1))
    table.count_end(1004.0, end(outcome="error"))
    table.count_end(1004.0, end(outcome="cancelled"))

    (row,) = rows(table, 1010.0, in_flight={("archive", "get"): 2})

    assert row == {
        "store": "archive",
        "operation": "get",
        "rate": 0.4,
        "errors": 1,
        "misses": 1,
        "hit_ratio": 0.5,
        "retries": 2,
        "bytes_per_second": 50.0,
        "p50": pytest.approx(0.01, rel=0.03),
        "p99": pytest.approx(0.1, rel=0.03),
        "in_flight": 2,
    }


def test_rates_are_of_the_last_minute(table: OperationTable) -> None:
    for second in range(1000, 1200):
        table.count_end(second, end())

    assert rows(table, 1200.0)[0]["rate"] == pytest.approx(1, rel=0.1)
    assert rows(table, 1230.0)[0]["rate"] == pytest.approx(0.5, rel=0.1)
    (idle,) = rows(table, 1300.0)
    assert (idle["rate"], idle["hit_ratio"], idle["p50"], idle["errors"]) == (0, None, None, 0)


def test_first_second_is_no_division_by_zero(table: OperationTable) -> None:
    table.count_end(STARTED, end())

    assert rows(table, STARTED)[0]["rate"] == 1


def test_hit_ratio_is_of_operations_that_read_or_have_missed(table: OperationTable) -> None:
    for operation in ("get", "set", "delete"):
        table.count_end(1001.0, end(operation))
    table.count_end(1001.0, end("delete", outcome="miss"))

    assert {row["operation"]: row["hit_ratio"] for row in rows(table, 1002.0)} == {"get": 1, "set": None, "delete": 0.5}


def test_busiest_rows_are_first_and_others_omitted(table: OperationTable) -> None:
    for number in range(5):
        for _ in range(number + 1):
            table.count_end(1001.0, end(store=f"store{number}"))

    shown, omitted = rows_of([table], 1002.0, STARTED, (), {}, 2)

    assert [row["store"] for row in shown] == ["store4", "store3"]
    assert omitted == 3


def test_rows_filter_by_store(table: OperationTable) -> None:
    table.count_end(1001.0, end())
    table.count_end(1001.0, end(store="other"))

    assert [row["store"] for row in rows(table, 1002.0, "other", in_flight={("archive", "set"): 1})] == ["other"]


def test_operation_that_has_not_ended_has_a_row(table: OperationTable) -> None:
    (row,) = rows(table, 1002.0, in_flight={("archive", "set"): 3})

    assert (row["operation"], row["in_flight"], row["rate"]) == ("set", 3, 0)


def test_unknown_operations_and_stores_past_the_cap_share_a_row(table: OperationTable) -> None:
    for number in range(MAX_VALUES + 5):
        table.count_end(1001.0, end(f"own{number}", store=f"store{number}"))

    in_flight = Counter(table.key_of(store, "own") for store in ("one more", "another"))
    shown, omitted = rows_of([table], 1002.0, STARTED, (OVERFLOW,), in_flight, 1000)

    assert omitted == 0
    assert [(row["operation"], row["rate"], row["in_flight"]) for row in shown] == [("other", 2.5, 2)]
    assert repr(table) == f"<OperationTable: {MAX_VALUES + 1} rows>"


def test_old_periods_are_dropped(table: OperationTable) -> None:
    for time in range(1000, 100_000, 5):
        table.count_end(time, end())

    assert sum(len(row.periods) for row in table._rows.values()) <= 13


def test_event_that_cannot_be_counted_leaves_no_trace(table: OperationTable) -> None:
    with pytest.raises(TypeError):
        table.count_end(1001.0, end(attempts="many"))

    assert rows(table, 1002.0) == []
