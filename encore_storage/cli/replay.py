"""The command `encore replay`."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from encore_events import BaseEvent, EventManager
from encore_storage.cli.session import Session
from encore_storage.codec.recorded import mark_of, recorded_time
from encore_storage.formatting import format_duration
from encore_storage.recording import replay

_LONG_PAUSE = 5.0  # seconds after which a pause on a terminal needs an explanation


class ReplayCounter:
    """A count of replayed events.

    Attributes:
        events: number of events so far.
    """

    def __init__(self, manager: EventManager) -> None:
        self.events = 0
        self._first: float | None = None
        self._last = 0.0
        manager.connect(BaseEvent, self._on_event, weak=False)

    @property
    def seconds(self) -> float:
        """The time between the first and the last event when they were recorded."""
        return 0.0 if self._first is None else self._last - self._first

    def __str__(self) -> str:
        noun = "event" if self.events == 1 else "events"
        return f"{self.events:,} {noun}, {format_duration(self.seconds)} of the recording"

    def _on_event(self, event: BaseEvent) -> None:
        self.events += mark_of(event) is not None  # events of the replay itself, such as errors, have none
        recorded = recorded_time(event)
        if recorded is None:
            return
        self._first = recorded if self._first is None else self._first
        self._last = max(self._last, recorded)


def run_replay(run: Session, path: Path, speed: float, *, keep_serving: bool) -> int:
    """Replay the recording, and return the exit status. Raises RecordingError after the events before it."""
    run.print_addresses()
    counter = ReplayCounter(run.manager)

    def pause(seconds: float) -> None:
        if seconds >= _LONG_PAUSE and run.console.is_terminal:
            run.print(f"the next event is {format_duration(seconds)} away; a higher --speed waits less")
        time.sleep(seconds)

    try:
        done = replay(path, run.manager, speed, sleep=pause)
    except BaseException:
        if counter.events:
            run.print_summary(counter.seconds)
            run.print(f"stopped: {counter}")
        raise
    run.print_summary(counter.seconds)
    if done.skipped:
        run.print(f"incomplete lines, left by a program that was killed: {done.skipped:,}")
    run.print(f"replayed: {counter}")
    if keep_serving:
        run.print("serving until Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0
