"""The errors of recording and replaying.

```
EncoreError
└── RecordingError
    ├── RecordingFileError        the file can't be opened, or is no recording (OSError)
    │   └── RecordingBusyError        another recorder has the file
    └── MalformedRecordingError   a line is not an event (ValueError)
```
"""

from __future__ import annotations

from pathlib import Path

from encore_events.errors import EncoreError


class RecordingError(EncoreError):
    """The root of errors with recordings."""


class RecordingFileError(RecordingError, OSError):
    """The file can't be recorded to, or can't be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{str(path)!r} {reason}")
        self.path = path
        self.reason = reason


class RecordingBusyError(RecordingFileError):
    """Another recorder has the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "is being recorded to by another recorder: choose another file, or disconnect that one")


class MalformedRecordingError(RecordingError, ValueError):
    """A line of a recording is not an event. Lines are counted from 1."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"line {line:,} of {str(path)!r} is not an event: {reason}")
        self.path = path
        self.line = line
        self.reason = reason
