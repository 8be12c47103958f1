"""What a command runs in: an event manager of its own, with everything connected that the options ask for."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console

from encore_events import EncoreError, EventManager
from encore_storage.cli.interrupts import remembered_interrupts
from encore_storage.cli.report import PlainProgress, summary_line, summary_table
from encore_storage.monitor import monitor
from encore_storage.subscribers import LogSubscriber, ProgressBars
from encore_storage.subscribers.logs import Level, open_logger
from encore_storage.subscribers.summary import SummarySubscriber

LogFormat = Literal["json", "console"]


@dataclass
class Session:
    """One run of a command.

    Attributes:
        console: where a person reads.
        manager: what all stores of the run emit on.
        summary: what happened so far.
        page: where a page shows it live, or None.
        metrics_address: where the metrics are served, or None.
        log: what writes the log file, or None.
    """

    console: Console
    manager: EventManager = field(default_factory=EventManager)
    summary: SummarySubscriber = field(default_factory=SummarySubscriber)
    page: str | None = None
    metrics_address: str | None = None
    log: LogSubscriber | None = None
    _started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Show a line, as it is."""
        self.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def say_addresses(self) -> None:
        """Show where it is served, if it is."""
        if self.page is not None:
            self.say(f"page: {self.page}")
            self.say(f"metrics: {self.metrics_address}")

    def show_summary(self) -> None:
        """Show the table of operations, and the line of transactions."""
        seconds = time.monotonic() - self._started
        if self.summary.operations:
            self.console.print(summary_table(self.summary))
        self.say(summary_line(self.summary, seconds))


class LogFileError(EncoreError, OSError):
    """The log file can't be written."""


_PAPER = 100  # columns, where there is no terminal


@contextlib.contextmanager
def session(
    *, log_file: Path | None, log_format: LogFormat, log_level: Level = "info", port: int | None, progress: bool
) -> Iterator[Session]:
    """Connect what the options ask for, and disconnect it at the end.

    Raises:
        LogFileError: the log file can't be opened.
        AddressError: the port can't be had.
    """
    # Failures of subscribers are counted in the summary; tracebacks between the bars would help nobody.
    logging.getLogger("encore_events").addHandler(logging.NullHandler())
    logging.getLogger("encore_events").propagate = False
    console = Console()
    if not console.is_terminal:
        console.width = _PAPER
    run = Session(console)
    with contextlib.ExitStack() as stack:
        stack.callback(run.manager.close)
        stack.enter_context(remembered_interrupts(run.manager))
        stack.enter_context(run.summary.connect(run.manager))
        if log_file is not None:
            logger = stack.enter_context(_logger(run, log_file, log_format, log_level))
            run.log = stack.enter_context(LogSubscriber(logger=logger).connect(run.manager))
        if port is not None:
            served = stack.enter_context(monitor(run.manager, logs=False, port=port))
            run.page, run.metrics_address = served.page, served.address
        if progress and console.is_terminal and not console.is_dumb_terminal:
            stack.enter_context(ProgressBars(console=console).connect(run.manager))
        elif progress:
            stack.enter_context(PlainProgress(console).connect(run.manager))
        yield run


@contextlib.contextmanager
def _logger(run: Session, path: Path, format: LogFormat, level: Level) -> Iterator[object]:  # noqa: A002 (as in open_logger)
    """The logger of the session; a file that can't be written whole is told, and is no failure of the stores."""
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
            run.say(f"the log file {str(path)!r} is incomplete: {error.strerror}")
