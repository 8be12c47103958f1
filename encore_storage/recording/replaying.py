"""A recording, emitted again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from encore_events.abstract import BaseEventManager
from encore_storage.codec import EventCodec
from encore_storage.recording.recording import Recording

SLOWEST = 0.001
"""The least speed: a thousandth of that at which it happened."""


class Replayed(NamedTuple):
    """What has been replayed.

    Attributes:
        events: how many.
        seconds: how long it took when it was recorded, from the first event to the last.
        skipped: how many incomplete lines there were, which killed programs have left.
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
    """Emit what a Recorder has written, at the pace at which it happened; what was replayed.

    The events have the timestamps that they had, and `recorded_at`, the time at which they were recorded.

    Args:
        path: the file, as the recorder was given it; what was moved aside comes first.
        manager: where to emit.
        speed: how many times as fast; `math.inf` doesn't wait at all.
        codec: how events are read; needed for types of a program's own.
        sleep: waits for seconds.
        clock: monotonic seconds.

    Raises:
        ValueError: the speed is less than a thousandth.
        RecordingFileError: there is no such file, or it can't be read (an OSError).
        MalformedRecordingError: a line is not an event (a ValueError); all before it have been emitted.
    """
    check_speed(speed)
    recording = Recording(path, codec=codec)
    events = 0
    first = last = None
    begun = clock()
    for message in recording:
        if message.time is not None:
            last = message.time if last is None else max(last, message.time)
            first = last if first is None else first
            wait = (last - first) / speed - (clock() - begun)
            if wait > 0:
                sleep(wait)
        manager.emit(message.event)
        events += 1
    return Replayed(events, 0.0 if first is None or last is None else last - first, recording.skipped)


def check_speed(speed: float) -> None:
    """Refuse a speed at which nothing would ever happen.

    Raises:
        ValueError: it is less than a thousandth, or no number.
    """
    if not speed >= SLOWEST:  # NaN isn't, either
        raise ValueError(f"speed must be a number of at least {SLOWEST}, not {speed!r}")
