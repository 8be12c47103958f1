"""Recordings of events in files, and their replay."""

from encore_storage.recording.errors import (
    MalformedRecordingError,
    RecordingBusyError,
    RecordingError,
    RecordingFileError,
)
from encore_storage.recording.recorder import Recorder
from encore_storage.recording.recording import Recording
from encore_storage.recording.replaying import Replayed, replay

__all__ = [
    "MalformedRecordingError",
    "Recorder",
    "Recording",
    "RecordingBusyError",
    "RecordingError",
    "RecordingFileError",
    "Replayed",
    "replay",
]
