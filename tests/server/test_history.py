"""Counts by second and store, and the quantiles of durations."""

from __future__ import annotations

import math
import random

import pytest

from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.server.history import History
from encore_storage.subscribers.catalogue import OVERFLOW
from encore_storage.subscribers.families import MAX_VALUES


def end(store: str = "archive", outcome: str = "ok", duration: float = 0.01) -> StoreProgressEndEvent:
    return StoreProgressEndEvent(store=store, outcome=outcome, duration=duration)


def transaction_end(outcome: str) -> StoreTransactionEndEvent:
    return StoreTransactionEndEvent(store="archive", outcome=outcome)


@pytest.fixture
def history() -> History:
    return History()


def test_what_happens_is_counted_in_its_second(history: History) -> None:
    history.operation_ended(100.2, end())
    history.operation_ended(100.9, end(outcome="error"))
    history.operation_ended(102.0, end(outcome="cancelled"))
    history.bytes_moved(100.5, "archive", "read", 7)
    history.bytes_moved(102.5, "archive", "write", 9)
    history.bytes_moved(102.5, "archive", None, 0)
    history.transaction_ended(100.0, transaction_end("committed"))
    history.transaction_ended(102.0, transaction_end("rolled_back"))
    history.transaction_ended(102.0, transaction_end("commit_failed"))

    columns = history.columns(until=103)

    assert columns["time"] == [100, 102]
    assert columns["operations"] == [2, 1]
    assert columns["errors"] == [1, 0]
    assert columns["cancelled"] == [0, 1]
    assert columns["read"] == [7, 0]
    assert columns["written"] == [0, 9]
    assert columns["commits"] == [1, 0]
    assert columns["rollbacks"] == [0, 2]


def test_a_second_that_is_not_over_is_not_told(history: History) -> None:
    history.operation_ended(100.2, end())

    assert history.columns(until=100.9)["time"] == []
    assert history.columns(until=101.0)["time"] == [100]


def test_only_what_is_new_is_told_again(history: History) -> None:
    history.operation_ended(100.2, end())
    history.operation_ended(101.2, end())
    told = history.told(101.5)
    first = history.columns(101.5)

    assert first["time"] == [100]
    assert history.columns(101.9, told=told)["time"] == []
    assert history.columns(102.0, told=told)["time"] == [101]


def test_a_second_that_was_told_and_has_changed_is_told_again(history: History) -> None:
    history.operation_ended(100.2, end())
    told = history.told(101.0)
    history.operation_ended(100.99, end())

    columns = history.columns(101.1, told=told)

    assert columns["time"] == [100]
    assert columns["operations"] == [2]


def test_stores_are_told_apart(history: History) -> None:
    history.operation_ended(100.2, end("a"))
    history.operation_ended(100.2, end("b", outcome="error"))

    assert history.stores == ["a", "b"]
    assert history.columns(101, ["b"])["errors"] == [1]
    assert history.columns(101, ["a"])["errors"] == [0]
    assert history.totals(["a"])["operations"] == 1
    assert history.totals()["operations"] == 2


def test_stores_past_the_cap_share_a_name(history: History) -> None:
    for number in range(MAX_VALUES + 5):
        history.operation_ended(100.2, end(f"store{number}"))

    assert len(history.stores) == MAX_VALUES + 1
    assert history.totals([OVERFLOW])["operations"] == 5
    assert history.totals()["operations"] == MAX_VALUES + 5


def test_only_the_last_seconds_are_kept_and_the_totals_stay() -> None:
    history = History(seconds=3)
    for time in range(100, 110):
        history.operation_ended(time, end())

    assert history.columns(200)["time"] == [107, 108, 109]
    assert history.totals()["operations"] == 10


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    history = History(seconds=3)
    history.operation_ended(1000, end())
    history.operation_ended(10, end())
    history.operation_ended(11, end())

    assert history.columns(2000)["operations"][-1] == 1
    assert history.totals()["operations"] == 3


def test_a_clock_that_was_ahead_for_a_moment_hides_nothing() -> None:
    history = History(seconds=30)
    for time in (*range(1000, 1010), 5000, *range(1010, 1030)):
        history.operation_ended(time, end())

    assert history.columns(1031)["time"] == [*range(1001, 1030)]  # one second had to make room for that of the clock


def test_seconds_of_long_ago_are_not_told_with_the_latest() -> None:
    history = History(seconds=30)
    history.operation_ended(1000, end())
    history.operation_ended(2000, end())

    assert history.columns(1500)["time"] == [1000]
    assert history.columns(2500)["time"] == [2000]


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 60.0])
def test_a_quantile_is_that_of_the_durations_within_3_per_cent(history: History, share: float, scale: float) -> None:
    chance = random.Random(7)
    durations = [scale * chance.lognormvariate(0, 1) for _ in range(501)]
    for duration in durations:
        history.operation_ended(100, end(duration=duration))
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]

    (told,) = history.columns(101)["p50" if share == 0.5 else "p99"]

    assert told == pytest.approx(exact, rel=0.03)


def test_a_duration_of_nothing_is_next_to_nothing(history: History) -> None:
    history.operation_ended(100, end(duration=0.0))

    assert history.columns(101)["p50"] == [pytest.approx(0, abs=1e-8)]


def test_without_operations_there_are_no_quantiles(history: History) -> None:
    history.transaction_ended(100, transaction_end("committed"))

    assert history.columns(101)["p50"] == [None]
    assert repr(history) == "<History: 1 seconds of 1 stores>"
