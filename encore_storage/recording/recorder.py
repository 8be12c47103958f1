"""Every event as a line of a file, without any store waiting for a disk."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.reporting import report_missing
from encore_storage.codec import EventCodec
from encore_storage.recording.errors import RecordingFileError
from encore_storage.recording.files import MOST_BACKUPS, LineFile
from encore_storage.subscribers.sink import Sink

logger = logging.getLogger("encore_events")

MAX_BYTES = 64 * 1024 * 1024
"""How long a file becomes before the next one is begun."""

BACKUPS = 5
"""How many older files are kept."""

INTERVAL = 0.1
"""Seconds between two writes."""

QUEUE = "recorder"
"""What its queue is called in an EventsDroppedEvent."""


class Recorder(Sink):
    """Writes every event to a file, as a CloudEvent on a line of its own; `replay` reads that.

    Stores only put their events into a stream; a thread of the recorder's own, from `connect` to `disconnect`, does
    the rest. If the program is killed, what is older than a second is in the file. Where the disk is slower than
    the program, or full, events are dropped, and that is told: as an EventsDroppedEvent to the event manager, and in
    the file. Once the disk is back, recording goes on. A forked child's events are not recorded.

    Args:
        path: the file, which events are added to; only the user can read it. One recorder has it at a time.
        codec: how events are told; by default, with keys and without metadata.
        max_bytes: how long it becomes before it is moved aside: to `path.1`, what was that to `path.2`, and so on.
        backups: how many of those are kept. With 0, the file is begun anew.
        interval: seconds between two writes.

    Raises:
        ValueError: one of the numbers can't be that.

    Attributes:
        path: the file.
        recorded: how many events it has written.
        lost: how many events it could not write.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        codec: EventCodec | None = None,
        max_bytes: int = MAX_BYTES,
        backups: int = BACKUPS,
        interval: float = INTERVAL,
    ) -> None:
        """Make a recorder that is not connected; nothing is opened before that."""
        super().__init__(QUEUE, interval)
        if type(max_bytes) is not int or max_bytes < 1:
            raise ValueError(f"max_bytes must be a whole number of at least 1, not {max_bytes!r}")
        if type(backups) is not int or not 0 <= backups <= MOST_BACKUPS:
            raise ValueError(f"backups must be a whole number from 0 to {MOST_BACKUPS}, not {backups!r}")
        seconds: object = interval
        if not isinstance(seconds, int | float) or not 0 < seconds <= 1:
            raise ValueError(f"interval must be more than 0 and at most 1 second, not {interval!r}")
        self.path = Path(path)
        self.recorded = 0
        self.lost = 0
        self._codec = EventCodec() if codec is None else codec
        self._file = LineFile(self.path, max_bytes=max_bytes, backups=backups)
        self._is_failing = False
        self._missing = 0
        self._unreported = 0
        self._lines = list[bytes]()

    def __repr__(self) -> str:
        """Where to, and how many."""
        return f"<Recorder of {str(self.path)!r}: {self.recorded} events, {self.lost} lost>"

    def _open(self, event_manager: BaseEventManager) -> None:
        try:
            self._file.open()
        except RecordingFileError:
            raise
        except OSError as error:
            raise RecordingFileError(self.path, f"can't be recorded to: {error.strerror}") from error
        self._manager = event_manager
        self._lines = []  # in a child that a redaction has forked, those of the parent

    def _consume(self, at: float, event: BaseEvent) -> None:
        if not (isinstance(event, EventsDroppedEvent) and event.source is self):  # the file has such a notice already
            self._lines.append(self._line(at, event))

    def _drop(self, count: int) -> None:
        self.lost += count

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._write(lines)

    def _close(self) -> None:
        if self._missing:
            self._write([])
            self._report()
        self._file.close()

    def _line(self, at: float, event: BaseEvent) -> bytes:
        return self._codec.encode(event, time=getattr(event, "recorded_at", at)) + b"\n"

    def _write(self, lines: list[bytes]) -> None:
        """Write the lines, and before them a notice of the events that are missing there."""
        notice = [self._line(time.time(), self._notice(self._missing))] if self._missing else []
        count, error = self._file.append(notice + lines)
        if notice and count:
            self._missing = 0
            count -= 1
        self.recorded += count
        if error is None:
            self._recover()
            return
        lost = len(lines) - count
        self.lost += lost
        self._missing += lost
        self._unreported += lost
        if not self._is_failing:
            self._is_failing = True
            logger.error("%r can't write: %s; events are dropped until it can", self, error)
            self._report()

    def _recover(self) -> None:
        if self._is_failing:
            self._is_failing = False
            logger.warning("%r goes on", self)
            self._report()

    def _report(self) -> None:
        """Emit a notice of the missing events that no notice has counted yet."""
        count, self._unreported = self._unreported, 0
        if count:
            report_missing(self._manager, self._notice(count))

    def _notice(self, count: int) -> EventsDroppedEvent:
        return EventsDroppedEvent(source=self, queue=QUEUE, reason="disk", count=count)
