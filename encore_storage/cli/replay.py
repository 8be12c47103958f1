"""A recording that happens again, for a person who wants to see it."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from encore_events import BaseEvent, EventManager
from encore_storage.cli.report import duration, summary_line, summary_table
from encore_storage.cli.session import Session
from encore_storage.codec import RecordedSource
from encore_storage.recording import replay

_LONG_PAUSE = 5.0  # seconds, after which whoever looks on at a terminal may wonder


class Seen:
    """How much of a recording has happened again.

    Attributes:
        events: how many.
    """

    def __init__(self, manager: EventManager) -> None:
        """Begin to count what is emitted."""
        self.events = 0
        self._first: float | None = None
        self._last = 0.0
        manager.connect(BaseEvent, self._on_event, weak=False)

    @property
    def seconds(self) -> float:
        """How long it took when it was recorded."""
        return 0.0 if self._first is None else self._last - self._first

    def __str__(self) -> str:
        """How many, and how long."""
        return f"{self.events:,} {'event' if self.events == 1 else 'events'}, {duration(self.seconds)} of the recording"

    def _on_event(self, event: BaseEvent) -> None:
        recorded = getattr(event, "recorded_at", None)
        self.events += isinstance(event.source, RecordedSource)  # others are of listeners that fail now
        if recorded is None:
            return
        self._first = recorded if self._first is None else self._first
        self._last = max(self._last, recorded)


def run_replay(run: Session, path: Path, speed: float, *, keep_serving: bool) -> int:
    """Replay the recording into the session; the exit status.

    Raises:
        RecordingError: it can't be read, or a line is no event; what came before it has happened.
    """
    run.say_addresses()
    seen = Seen(run.manager)

    def pause(seconds: float) -> None:
        if seconds >= _LONG_PAUSE and run.console.is_terminal:
            run.say(f"nothing happened for a while: waiting {duration(seconds)}; a higher --speed waits less")
        time.sleep(seconds)

    try:
        done = replay(path, run.manager, speed, sleep=pause)
    except BaseException:
        if seen.events:
            _show_summary(run, seen)
            run.say(f"stopped: {seen}")
        raise
    _show_summary(run, seen)
    if done.skipped:
        run.say(f"incomplete lines, which a killed program has left: {done.skipped:,}")
    run.say(f"replayed: {seen}")
    if keep_serving:
        run.say("serving until Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def _show_summary(run: Session, seen: Seen) -> None:
    """The table, and the line with the time that it took when it was recorded."""
    if run.summary.operations:
        run.console.print(summary_table(run.summary))
    run.say(summary_line(run.summary, seen.seconds))
