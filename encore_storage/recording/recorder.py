"""A recorder of events, which writes in a thread of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.loggers import get_logger
from encore_events.reporting import report_missing
from encore_storage.codec import EventCodec
from encore_storage.codec.recorded import recorded_time
from encore_storage.recording.errors import RecordingFileError
from encore_storage.recording.files import MOST_BACKUPS, LineFile
from encore_storage.subscribers.sink import Sink

logger = get_logger("encore_events")

MAX_BYTES = 64 * 1024 * 1024  # the size at which a file is rotated
BACKUPS = 5  # older files to keep
INTERVAL = 0.1  # seconds between two writes
QUEUE = "recorder"  # in its EventsDroppedEvents


class Recorder(Sink):
    """Writes each event to a file, as a CloudEvent on its own line. `replay` reads the file.

    Stores only put their events into a stream. A thread writes them, from `connect` to `disconnect`. If the program is
    killed, events older than a second are in the file. If the disk is full or too slow, events are dropped. The
    recorder emits an EventsDroppedEvent, and writes it to the file, too. It continues as soon as the disk can be
    written to. A forked child's events are not recorded.

    Args:
        path: the file to append to, created readable by its owner only. It takes one recorder at a time. It is made
            absolute at once, since the program may change its directory.
        codec: encodes the events; by default, with keys and without metadata.
        max_bytes: the size at which the file is renamed to `path.1`, that to `path.2`, and so on.
        backups: the number of renamed files to keep. With 0, the file is replaced.
        interval: seconds between two writes, at most 1.

    Raises:
        ValueError: a number is out of range.

    Attributes:
        path: the file.
        recorded: the number of events written.
        lost: the number of events dropped.
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
        super().__init__(QUEUE, interval)
        if type(max_bytes) is not int or max_bytes < 1:
            raise ValueError(f"max_bytes must be a whole number of at least 1, not {max_bytes!r}")
        if type(backups) is not int or not 0 <= backups <= MOST_BACKUPS:
            raise ValueError(f"backups must be a whole number from 0 to {MOST_BACKUPS}, not {backups!r}")
        seconds: object = interval
        if not isinstance(seconds, int | float) or not 0 < seconds <= 1:
            raise ValueError(f"interval must be more than 0 and at most 1 second, not {interval!r}")
        self.path = Path(path).absolute()
        self.recorded = 0
        self.lost = 0
        self._codec = EventCodec() if codec is None else codec
        self._hides_keys = self._codec.hides_keys
        self._file = LineFile(self.path, max_bytes=max_bytes, backups=backups)
        self._is_failing = False
        self._missing = 0
        self._unreported = 0
        self._lines = list[bytes]()

    def __repr__(self) -> str:
        return f"<Recorder of {str(self.path)!r}: {self.recorded} events, {self.lost} lost>"

    def _open(self, event_manager: BaseEventManager) -> None:
        try:
            self._file.open()
        except RecordingFileError:
            raise
        except OSError as error:
            raise RecordingFileError(self.path, f"can't be recorded to: {error.strerror}") from error
        self._manager = event_manager
        self._lines = []  # a child forked by a redaction has inherited the parent's

    def _consume(self, at: float, event: BaseEvent) -> None:
        if not (isinstance(event, EventsDroppedEvent) and event.source is self):  # _write writes a notice of its own
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
        recorded = recorded_time(event)
        return self._codec.encode(event, time=at if recorded is None else recorded) + b"\n"

    def _write(self, lines: list[bytes]) -> None:
        """Write the lines, preceded by a notice of the events missing before them."""
        notice = [self._line(time.time(), self._notice(self._missing))] if self._missing else []
        count, error = self._file.append(notice + lines)
        if notice and count:
            self._missing = 0
            count -= 1
        self.recorded += count
        lost = len(lines) - count
        self.lost += lost
        self._missing += lost
        self._unreported += lost
        if self._is_failing == (error is not None):
            return
        self._is_failing = not self._is_failing
        if error is None:
            logger.warning("%r can write again", self)
        else:
            logger.error("%r can't write: %s; events are dropped until it can", self, error)
        self._report()

    def _report(self) -> None:
        """Emit a notice of the missing events that no emitted notice has counted."""
        count, self._unreported = self._unreported, 0
        if count:
            report_missing(self._manager, self._notice(count))

    def _notice(self, count: int) -> EventsDroppedEvent:
        return EventsDroppedEvent(source=self, queue=QUEUE, reason="disk", count=count)
