"""Progress lines and the summary."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from encore_events import BaseEvent, EventManager, ProgressManager
from encore_storage.cli.report import PlainProgress, summary_line, summary_table
from encore_storage.cli.session import Session
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.formatting import format_duration
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers.summary import SummarySubscriber
from tests.storage.support import Clock
from tests.subscribers.support import end


@pytest.fixture
def console() -> Console:
    """A console of 80 columns without a terminal."""
    return Console(file=io.StringIO(), width=80)


@pytest.fixture
def summary(manager: EventManager) -> Iterator[SummarySubscriber]:
    with SummarySubscriber().connect(manager) as summary:
        yield summary


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plain(console: Console, manager: EventManager, clock: Clock) -> Iterator[None]:
    with PlainProgress(console, clock=clock).connect(manager):
        yield


@pytest.fixture
def every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emit a step event for each chunk."""
    monkeypatch.setattr("encore_storage.observing.progress.StoreProgressManager.min_interval", 0)


def lines(console: Console) -> list[str]:
    """Return the printed lines with single spaces."""
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (0.00042, "420 µs"),
        (0.001, "1 ms"),
        (0.25, "250 ms"),
        (1.0, "1.0 s"),
        (75.0, "75.0 s"),
    ],
)
def test_format_duration_selects_the_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.usefixtures("plain")
def test_progress_prints_a_line_every_two_seconds(console: Console, manager: EventManager, clock: Clock) -> None:
    with ProgressManager(manager, message="copying", steps=10) as progress:
        for step in range(1, 11):
            clock.now += 0.5
            progress(step=step)

    assert lines(console) == ["copying: 4 of 10", "copying: 8 of 10"]


@pytest.mark.usefixtures("plain")
def test_progress_prints_nothing_before_two_seconds(console: Console, manager: EventManager, clock: Clock) -> None:
    with ProgressManager(manager, message="copying", steps=1) as progress:
        clock.now += 1.9
        progress(step=1)

    assert lines(console) == []


@pytest.mark.usefixtures("plain", "every_byte")
def test_progress_ignores_single_operations(console: Console, manager: EventManager, clock: Clock) -> None:
    clock.now += 60

    DictMemoryStore(event_manager=manager).from_bytes("a", bytes(10), buffer_size=1)

    assert lines(console) == []


def test_table_has_a_row_for_each_operation(
    console: Console, manager: EventManager, summary: SummarySubscriber
) -> None:
    for milliseconds in range(1, 101):
        manager.emit(end(bytes=100_000, duration=milliseconds / 1000))
    manager.emit(end(operation="query", bytes=0, outcome="miss", duration=2.0))
    manager.emit(end(operation="query", bytes=0, outcome="error", duration=0.0001))

    console.print(summary_table(summary))

    heading, rule, *rows = lines(console)
    assert heading == "store operation count misses errors bytes bytes/s p50 p99"
    assert set(rule) == {"─"}
    assert rows == [
        "archive get 100 0 0 10.0 MB 2.0 MB 50 ms 99 ms",
        "archive query 2 1 1 - - 100 µs 2.0 s",
    ]


def test_table_of_a_large_copy_fits_80_columns(
    console: Console, manager: EventManager, summary: SummarySubscriber
) -> None:
    for _ in range(12_345):
        manager.emit(end(store="source", operation="get_metadata", bytes=999_900_000, duration=0.000999))

    console.print(summary_table(summary))

    assert lines(console)[-1] == "source get_metadata 12,345 0 0 12.3 TB 1.0 TB 999 µs 999 µs"


def test_bytes_per_second_ignore_operations_without_bytes(
    console: Console, manager: EventManager, summary: SummarySubscriber
) -> None:
    manager.emit(end(operation="get", bytes=3_000_000, duration=1.0))
    manager.emit(end(operation="get", bytes=1_000_000, duration=3.0, outcome="error"))
    manager.emit(end(operation="get", bytes=0, duration=1000.0, outcome="miss"))
    manager.emit(end(operation="set", bytes=1_000_000, duration=0.1))
    manager.emit(end(operation="get_range", bytes=1_000_000, duration=0.0))

    console.print(summary_table(summary))

    assert [line.split()[5:9] for line in lines(console)[2:]] == [
        ["4.0", "MB", "1.0", "MB"],
        ["1.0", "MB", "-", "0"],
        ["1.0", "MB", "10.0", "MB"],
    ]


def test_empty_summary_has_no_table(console: Console) -> None:
    Session(console).print_summary()

    (line,) = lines(console)
    assert line.startswith("commits: 0, rollbacks: 0, errors: 0, in ")


def test_summary_line_counts_commits_rollbacks_and_errors(manager: EventManager, summary: SummarySubscriber) -> None:
    store = DictMemoryStore(event_manager=manager)
    with store.transaction():
        store.from_bytes("a", b"1")
    with pytest.raises(OSError, match="disk full"), store.transaction():
        raise OSError("disk full")
    manager.emit(end(outcome="error"))

    assert summary_line(summary, 0.25) == "commits: 1, rollbacks: 1, errors: 1, in 250 ms"


@pytest.mark.parametrize("outcome", ["commit_failed", "rollback_failed"])
def test_summary_line_counts_failed_transactions(
    manager: EventManager, summary: SummarySubscriber, outcome: str
) -> None:
    manager.emit(StoreTransactionEndEvent(outcome=outcome))

    expected = "commits: 0, rollbacks: 0, errors: 0, in 1.0 s; failed transactions: 1"
    assert summary_line(summary, 1.0) == expected


def test_summary_line_counts_closed_transactions_apart(manager: EventManager, summary: SummarySubscriber) -> None:
    manager.emit(StoreTransactionEndEvent(outcome="closed"))

    expected = "commits: 0, rollbacks: 0, errors: 0, in 1.0 s; transactions without writes: 1"
    assert summary_line(summary, 1.0) == expected


def test_summary_line_counts_listener_errors(manager: EventManager, summary: SummarySubscriber) -> None:
    def fail(event: BaseEvent) -> None:
        raise ZeroDivisionError

    manager.connect(BaseEvent, fail)
    manager.emit(BaseEvent())

    expected = "commits: 0, rollbacks: 0, errors: 0, in 1.0 s; listener errors: 1"
    assert summary_line(summary, 1.0) == expected
