"""Counts by second and store, and quantiles of durations."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from typing import Any

import pytest

from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.server.history import START, History, HistoryCursor, columns, cursor
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.labels import MAX_VALUES


def end(store: str = "archive", outcome: str = "ok", duration: float = 0.01) -> StoreProgressEndEvent:
    return StoreProgressEndEvent(store=store, outcome=outcome, duration=duration)


def transaction_end(outcome: str) -> StoreTransactionEndEvent:
    return StoreTransactionEndEvent(store="archive", outcome=outcome)


def columns_of(
    history: History, until: float, stores: Collection[str] = (), since: HistoryCursor = START
) -> dict[str, list[Any]]:
    return columns({"": history}, until, stores, since)


@pytest.fixture
def history() -> History:
    return History()


def test_columns_have_the_counts_of_each_second(history: History) -> None:
    history.count_operation(100.2, end())
    history.count_operation(100.9, end(outcome="error"))
    history.count_operation(102.0, end(outcome="cancelled"))
    history.count_bytes(100.5, "archive", "read", 7)
    history.count_bytes(102.5, "archive", "write", 9)
    history.count_bytes(102.5, "archive", None, 0)
    history.count_transaction(100.0, transaction_end("committed"))
    history.count_transaction(102.0, transaction_end("rolled_back"))
    history.count_transaction(102.0, transaction_end("commit_failed"))
    history.count_transaction(102.0, transaction_end("closed"))

    found = columns_of(history, 103)

    assert found["time"] == [100, 102]
    assert found["operations"] == [2, 1]
    assert found["errors"] == [1, 0]
    assert found["cancelled"] == [0, 1]
    assert found["read"] == [7, 0]
    assert found["written"] == [0, 9]
    assert found["commits"] == [1, 0]
    assert found["rollbacks"] == [0, 2]


def test_counts_are_added_to_the_sums_once_however_often_they_are_read(history: History) -> None:
    for time in (100.2, 100.4, 101.0):
        history.count_operation(time, end())
        read = [history.totals()["operations"] for _ in range(2)]

    assert read == [3, 3]
    assert columns_of(history, 102)["operations"] == [2, 1]


def test_version_grows_with_counts_that_nobody_has_read(history: History) -> None:
    before = history.version
    history.count_operation(100.2, end())

    assert history.version > before
    assert history.changes(before)[0] != []


def test_columns_leave_out_the_current_second(history: History) -> None:
    history.count_operation(100.2, end())

    assert columns_of(history, 100.9)["time"] == []
    assert columns_of(history, 101.0)["time"] == [100]


def test_columns_since_a_cursor_have_only_new_seconds(history: History) -> None:
    history.count_operation(100.2, end())
    history.count_operation(101.2, end())
    seen = cursor({"": history}, 101.5)
    first = columns_of(history, 101.5)

    assert first["time"] == [100]
    assert columns_of(history, 101.9, since=seen)["time"] == []
    assert columns_of(history, 102.0, since=seen)["time"] == [101]


def test_columns_since_a_cursor_have_changed_seconds(history: History) -> None:
    history.count_operation(100.2, end())
    seen = cursor({"": history}, 101.0)
    history.count_operation(100.99, end())

    found = columns_of(history, 101.1, since=seen)

    assert found["time"] == [100]
    assert found["operations"] == [2]


def test_columns_and_totals_filter_by_store(history: History) -> None:
    history.count_operation(100.2, end("a"))
    history.count_operation(100.2, end("b", outcome="error"))

    assert history.stores == ["a", "b"]
    assert columns_of(history, 101, ["b"])["errors"] == [1]
    assert columns_of(history, 101, ["a"])["errors"] == [0]
    assert history.totals(["a"])["operations"] == 1
    assert history.totals()["operations"] == 2


def test_stores_past_the_cap_share_a_name(history: History) -> None:
    for number in range(MAX_VALUES + 5):
        history.count_operation(100.2, end(f"store{number}"))

    assert len(history.stores) == MAX_VALUES + 1
    assert history.totals([OVERFLOW])["operations"] == 5
    assert history.totals()["operations"] == MAX_VALUES + 5


def test_old_seconds_are_evicted_and_totals_stay() -> None:
    history = History(seconds=3)
    for time in range(100, 110):
        history.count_operation(time, end())

    assert columns_of(history, 200)["time"] == [107, 108, 109]
    assert history.totals()["operations"] == 10


def test_clock_set_back_loses_no_counts() -> None:
    history = History(seconds=3)
    history.count_operation(1000, end())
    history.count_operation(10, end())
    history.count_operation(11, end())

    assert columns_of(history, 2000)["operations"][-1] == 1
    assert history.totals()["operations"] == 3


def test_clock_ahead_for_a_moment_loses_no_second() -> None:
    history = History(seconds=30)
    for time in (*range(1000, 1010), 5000, *range(1010, 1030)):
        history.count_operation(time, end())

    assert columns_of(history, 1031)["time"] == [*range(1000, 1030)]


def test_columns_leave_out_seconds_older_than_the_period() -> None:
    history = History(seconds=30)
    history.count_operation(1000, end())
    history.count_operation(2000, end())

    assert columns_of(history, 1500)["time"] == [1000]
    assert columns_of(history, 2500)["time"] == [2000]


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 60.0])
def test_quantile_is_exact_within_3_percent(history: History, share: float, scale: float) -> None:
    chance = random.Random(7)
    durations = [scale * chance.lognormvariate(0, 1) for _ in range(501)]
    for duration in durations:
        history.count_operation(100, end(duration=duration))
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]

    (quantile,) = columns_of(history, 101)["p50" if share == 0.5 else "p99"]

    assert quantile == pytest.approx(exact, rel=0.03)


def test_quantile_of_a_zero_duration_is_almost_zero(history: History) -> None:
    history.count_operation(100, end(duration=0.0))

    assert columns_of(history, 101)["p50"] == [pytest.approx(0, abs=1e-8)]


def test_quantile_without_operations_is_none(history: History) -> None:
    history.count_transaction(100, transaction_end("committed"))

    assert columns_of(history, 101)["p50"] == [None]
    assert repr(history) == "<History: 1 seconds of 1 stores>"
