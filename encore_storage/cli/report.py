"""Progress lines and the final summary."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table

from encore_events import BaseEventManager, ProgressStepEvent, Subscription
from encore_storage.events import StoreProgressEvent
from encore_storage.formatting import format_bytes, format_duration
from encore_storage.subscribers.summary import SummarySubscriber


class PlainProgress:
    """Progress as a line every few seconds, where no bars can be drawn."""

    def __init__(self, console: Console, *, interval: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._interval = interval
        self._clock = clock
        self._due = clock() + interval

    def connect(self, event_manager: BaseEventManager) -> Subscription:
        """Print progress in keys; the bytes of single operations are left out."""
        return event_manager.connect(
            ProgressStepEvent, self._on_step, where=lambda event: not isinstance(event, StoreProgressEvent), weak=False
        )

    def _on_step(self, event: ProgressStepEvent) -> None:
        if self._clock() < self._due:
            return
        self._due = self._clock() + self._interval
        self._console.print(f"{event.message}: {event.step} of {event.steps}")


def summary_table(summary: SummarySubscriber) -> Table:
    """Return a table with a row for each operation; bytes/s counts only the time in which bytes moved."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for heading in ("store", "operation"):
        table.add_column(heading, no_wrap=True)
    for heading in ("count", "misses", "errors", "bytes", "bytes/s", "p50", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.operations:
        table.add_row(
            row.store,
            row.operation,
            f"{row.count:,}",
            f"{row.outcomes['miss']:,}",
            f"{row.outcomes['error']:,}",
            format_bytes(row.bytes) if row.bytes else "-",
            format_bytes(row.bytes / row.moving) if row.moving else "-",
            format_duration(row.quantile(0.50)),
            format_duration(row.quantile(0.99)),
        )
    return table


def summary_line(summary: SummarySubscriber, seconds: float) -> str:
    """Return one line with the counts of commits, rollbacks and errors."""
    commits = summary.transactions["committed"]
    rollbacks = summary.transactions["rolled_back"]
    closed = summary.transactions["closed"]
    failed = summary.transactions.total() - commits - rollbacks - closed
    line = f"commits: {commits:,}, rollbacks: {rollbacks:,}, errors: {summary.errors:,}, in {format_duration(seconds)}"
    if closed:
        line += f"; transactions without writes: {closed:,}"
    if failed:
        line += f"; failed transactions: {failed:,}"
    if summary.listener_errors:
        line += f"; listener errors: {summary.listener_errors:,}"
    return line
