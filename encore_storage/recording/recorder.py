"""Every event as a line of a file, without any store waiting for a disk."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.reporting import report_failure, report_missing
from encore_events.stream import EventStream
from encore_storage.codec import EventCodec
from encore_storage.recording.errors import RecordingFileError
from encore_storage.recording.files import MOST_BACKUPS, LineFile
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.pump import Batch, Pump

logger = logging.getLogger("encore_events")

MAX_BYTES = 64 * 1024 * 1024
"""How long a file becomes before the next one is begun."""

BACKUPS = 5
"""How many older files are kept."""

INTERVAL = 0.1
"""Seconds between two writes."""

QUEUE = "recorder"
"""What its queue is called in an EventsDroppedEvent."""

_WAITING = 20_000  # events


class Recorder(Subscriber):
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
        super().__init__()
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
        self._interval = interval
        self._file = LineFile(self.path, max_bytes=max_bytes, backups=backups)
        self._is_failing = False
        self._missing = 0
        self._untold = 0

    def __repr__(self) -> str:
        """Where to, and how many."""
        return f"<Recorder of {str(self.path)!r}: {self.recorded} events, {self.lost} lost>"

    def _listen(self, event_manager: BaseEventManager) -> ExitStack:
        try:
            self._file.open()
        except RecordingFileError:
            raise
        except OSError as error:
            raise RecordingFileError(self.path, f"can't be recorded to: {error.strerror}") from error
        try:
            stream = event_manager.stream(BaseEvent, capacity=_WAITING, name=QUEUE)
        except BaseException:
            self._file.close()
            raise
        consume, at_end = partial(self._record, event_manager, stream), partial(self._end, event_manager)
        pump = Pump(stream, consume, interval=self._interval, name="encore-recorder", at_end=at_end)
        pump.start()
        connection = ExitStack()
        connection.callback(pump.stop)
        return connection

    def _record(self, manager: BaseEventManager, stream: EventStream[BaseEvent], batch: Batch) -> None:
        lines = list[bytes]()  # if a redaction forks meanwhile, its child is refused by the file
        for at, event in batch:
            if isinstance(event, EventsDroppedEvent):
                if event.source is self:
                    continue  # the file tells of it already, in its place
                self.lost += event.count if event.source is stream else 0
            try:
                lines.append(self._line(at, event))
            except Exception as error:  # noqa: BLE001 (a program's own events and redactions: isolated as in a listener)
                self.lost += 1
                report_failure(manager, event, self._record, error)
        if lines:
            self._write(manager, lines)

    def _line(self, at: float, event: BaseEvent) -> bytes:
        return self._codec.encode(event, time=getattr(event, "recorded_at", at)) + b"\n"

    def _write(self, manager: BaseEventManager, lines: list[bytes]) -> None:
        """Write the lines, and before them how many are missing there."""
        notice = [self._line(time.time(), self._notice(self._missing))] if self._missing else []
        count, error = self._file.append(notice + lines)
        if notice and count:
            self._missing = 0
            count -= 1
        self.recorded += count
        if error is None:
            self._goes_on(manager)
            return
        lost = len(lines) - count
        self.lost += lost
        self._missing += lost
        self._untold += lost
        if not self._is_failing:
            self._is_failing = True
            logger.error("%r can't write: %s; events are dropped until it can", self, error)
            self._tell(manager)

    def _goes_on(self, manager: BaseEventManager) -> None:
        if self._is_failing:
            self._is_failing = False
            logger.warning("%r goes on", self)
            self._tell(manager)

    def _tell(self, manager: BaseEventManager) -> None:
        """Tell the event manager what is missing that it hasn't been told."""
        count, self._untold = self._untold, 0
        if count:
            report_missing(manager, self._notice(count))

    def _notice(self, count: int) -> EventsDroppedEvent:
        return EventsDroppedEvent(source=self, queue=QUEUE, reason="disk", count=count)

    def _end(self, manager: BaseEventManager) -> None:
        if self._missing:
            self._write(manager, [])
            self._tell(manager)
        self._file.close()
