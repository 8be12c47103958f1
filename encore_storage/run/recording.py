"""The recording of a program with several processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from encore_events.abstract import BaseEventManager
from encore_events.errors import ManagerClosedError
from encore_events.events import BaseEvent
from encore_events.forks import renew_in_child
from encore_events.listeners import FIRST
from encore_events.once import Once
from encore_storage.recording import Recorder, RecordingBusyError


class ProcessRecorder:
    """Records the events of this process, and those of each forked child from its first event on.

    The first process writes to the file. Each other one writes to a file of its own beside it, with its process id
    before the suffix: `events.jsonl` and `events-1234.jsonl`.

    Args:
        event_manager: the event manager.
        path: the file.

    Raises:
        RecordingFileError: the file can't be recorded to (an OSError).
    """

    def __init__(self, event_manager: BaseEventManager, path: Path) -> None:
        self._manager = event_manager
        self._path = path
        self._recorder = self._connected()
        renew_in_child(self, ProcessRecorder._renew)

    def __repr__(self) -> str:
        return f"<ProcessRecorder: {self._recorder!r}>"

    def _connected(self) -> Recorder:
        try:
            return Recorder(self._path).connect(self._manager)
        except RecordingBusyError:
            own = self._path.with_stem(f"{self._path.stem}-{os.getpid()}")
            return Recorder(own).connect(self._manager)

    def _renew(self) -> object:
        """Wait for the first event of a forked child; return what the parent had, to be freed later."""
        inherited = self._recorder
        begins = Once()

        def begin(event: BaseEvent) -> None:
            if begins.take():
                waiting.disconnect()
                self._recorder = self._connected()
                self._recorder.take(event)

        with contextlib.suppress(ManagerClosedError):
            waiting = self._manager.connect(BaseEvent, begin, priority=FIRST, weak=False)
        return inherited
