"""Replay of recordings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager
from encore_storage.codec import EventCodec
from encore_storage.recording.recording import Recording

SLOWEST = 0.001  # the lowest speed of a replay


class Replayed(NamedTuple):
    """The result of a replay.

    Attributes:
        events: the number of events.
        seconds: the recorded time from the first event to the last.
        skipped: the number of incomplete lines, left by killed programs.
    """

    events: int
    seconds: float
    skipped: int


def replay(
    path: str | os.PathLike[str],
    manager: BaseEventManager,
    speed: float = 1.0,
    *,
    codec: EventCodec | None = None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Replayed:
    """Emit recorded events at the pace at which they were recorded.

    The events have their original timestamps, and `recorded_at`, the time at which they were emitted.

    Args:
        path: the path given to the recorder. Backups are replayed first.
        manager: the event manager to emit on.
        speed: the factor by which the replay is faster; `math.inf` doesn't wait at all.
        codec: decodes the events; needed for custom event types.
        sleep: waits for seconds.
        clock: monotonic seconds.

    Raises:
        TypeError: the speed is not a number, or `manager` is no event manager.
        ValueError: the speed is less than 0.001.
        RecordingFileError: the file doesn't exist or can't be read (an OSError).
        MalformedRecordingError: a line is not an event (a ValueError). The events before it have been emitted.
    """
    check_speed(speed)
    checked_event_manager(manager)
    recording = Recording(path, codec=codec)
    events = 0
    first = last = None
    start = clock()
    for message in recording:
        if message.time is not None:
            last = message.time if last is None else max(last, message.time)
            first = last if first is None else first
            wait = (last - first) / speed - (clock() - start)
            if wait > 0:
                sleep(wait)
        manager.emit(message.event)
        events += 1
    return Replayed(events, 0.0 if first is None or last is None else last - first, recording.skipped)


def check_speed(speed: float) -> None:
    """Raise TypeError if `speed` is not a number, and ValueError if it is less than 0.001 or NaN."""
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise TypeError(f"speed must be a number of at least {SLOWEST}, not {speed!r}")
    if not speed >= SLOWEST:  # also true for NaN
        raise ValueError(f"speed must be a number of at least {SLOWEST}, not {speed!r}")
