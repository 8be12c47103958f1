"""The session of a command: an event manager with the subscribers that the options select."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console

from encore_events import EventManager
from encore_events.printing import printable
from encore_storage.cli.errors import LogFileError
from encore_storage.cli.interrupts import remembered_interrupts
from encore_storage.cli.report import PlainProgress, summary_line, summary_table
from encore_storage.monitoring import monitor
from encore_storage.subscribers import LogSubscriber, ProgressBars
from encore_storage.subscribers.logs import open_logger
from encore_storage.subscribers.summary import SummarySubscriber
from encore_storage.subscribers.volume import Level

LogFormat = Literal["json", "console"]


@dataclass
class Session:
    """One run of a command.

    Attributes:
        console: standard output.
        manager: the event manager of all stores of the run.
        summary: counts what has happened so far.
        page: address of the live page, or None.
        metrics_address: address of the metrics, or None.
        log: the subscriber that writes the log file, or None.
    """

    console: Console
    manager: EventManager = field(default_factory=EventManager)
    summary: SummarySubscriber = field(default_factory=SummarySubscriber)
    page: str | None = None
    metrics_address: str | None = None
    log: LogSubscriber | None = None
    _started: float = field(default_factory=time.monotonic)

    def print(self, text: str) -> None:
        """Print a line without markup and terminal codes."""
        self.console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def print_addresses(self) -> None:
        """Print the addresses of the page and the metrics if they are served."""
        if self.page is not None:
            self.print(f"page: {self.page}")
            self.print(f"metrics: {self.metrics_address}")

    def print_summary(self, seconds: float | None = None) -> None:
        """Print the operations and transactions of the last `seconds`; by default, since the start."""
        seconds = time.monotonic() - self._started if seconds is None else seconds
        if self.summary.operations:
            self.console.print(summary_table(self.summary))
        self.print(summary_line(self.summary, seconds))


_PLAIN_WIDTH = 100  # columns if there is no terminal


@contextlib.contextmanager
def session(
    *, log_file: Path | None, log_format: LogFormat, log_level: Level = "info", port: int | None, progress: bool
) -> Iterator[Session]:
    """Open a session for the length of a block. Raises LogFileError and AddressError."""
    # The summary counts listener errors; tracebacks would break up the bars.
    logging.getLogger("encore_events").addHandler(logging.NullHandler())
    logging.getLogger("encore_events").propagate = False
    console = Console()
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    run = Session(console)
    with contextlib.ExitStack() as stack:
        stack.callback(run.manager.close)
        stack.enter_context(remembered_interrupts(run.manager))
        stack.enter_context(run.summary.connect(run.manager))
        if log_file is not None:
            logger = stack.enter_context(_logger(run, log_file, log_format, log_level))
            run.log = stack.enter_context(LogSubscriber(logger=logger, level=log_level).connect(run.manager))
        if port is not None:
            group = f"encore-{secrets.token_hex(8)}"  # of this process alone: another command is another program
            served = stack.enter_context(monitor(run.manager, logs=False, port=port, group=group, required=True))
            run.page, run.metrics_address = served.page, served.address
        if progress and console.is_terminal and not console.is_dumb_terminal:
            stack.enter_context(ProgressBars(console=console).connect(run.manager))
        elif progress:
            stack.enter_context(PlainProgress(console).connect(run.manager))
        yield run


@contextlib.contextmanager
def _logger(run: Session, path: Path, format: LogFormat, level: Level) -> Iterator[object]:  # noqa: A002 (as in open_logger)
    """Open the logger; a file that cannot be written to the end is only reported."""
    opened = open_logger(path, format=format, level=level)
    try:
        logger = opened.__enter__()
    except OSError as error:
        raise LogFileError(f"the log file {str(path)!r} cannot be opened: {error.strerror}") from error
    try:
        yield logger
    finally:
        try:
            opened.__exit__(None, None, None)
        except OSError as error:
            run.print(f"the log file {str(path)!r} is incomplete: {error.strerror}")
