"""What the command shows a person: how far it is, and the summary at the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from encore_events import BaseEventManager, ProgressStepEvent, Subscription
from encore_storage.events import StoreProgressEvent
from encore_storage.subscribers.summary import SummarySubscriber


class PlainProgress:
    """A line each few seconds, for where no bars can be drawn."""

    def __init__(self, console: Console, *, interval: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Make it; nothing is shown before it is connected."""
        self._console = console
        self._interval = interval
        self._clock = clock
        self._due = clock() + interval

    def connect(self, event_manager: BaseEventManager) -> Subscription:
        """Show the steps of what counts keys; the bytes of single operations stay unsaid."""
        return event_manager.connect(
            ProgressStepEvent, self._on_step, where=lambda event: not isinstance(event, StoreProgressEvent), weak=False
        )

    def _on_step(self, event: ProgressStepEvent) -> None:
        if self._clock() < self._due:
            return
        self._due = self._clock() + self._interval
        self._console.print(f"{event.message}: {event.step} of {event.steps}")


def summary_table(summary: SummarySubscriber) -> Table:
    """A row for each operation, with its latency; bytes/s is while such operations moved bytes."""
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
            decimal(row.bytes) if row.bytes else "-",
            decimal(int(row.bytes / row.moving)) if row.moving else "-",
            duration(row.quantile(0.50)),
            duration(row.quantile(0.99)),
        )
    return table


def summary_line(summary: SummarySubscriber, seconds: float) -> str:
    """Commits, rollbacks and errors, in one line."""
    commits = summary.transactions["committed"]
    rollbacks = summary.transactions["rolled_back"]
    failed = summary.transactions.total() - commits - rollbacks
    line = f"commits: {commits:,}, rollbacks: {rollbacks:,}, errors: {summary.errors:,}, in {duration(seconds)}"
    if failed:
        line += f"; transactions that failed to end: {failed:,}"
    if summary.listener_errors:
        line += f"; failures of subscribers, which the stores did not notice: {summary.listener_errors:,}"
    return line


def duration(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> duration(0.00042), duration(0.25), duration(75)
    ('420 µs', '250 ms', '75.0 s')
    """
    if seconds < 0.001:  # noqa: PLR2004 (a millisecond)
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s"
