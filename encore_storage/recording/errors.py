"""The errors of recording and replaying.

```
EncoreError
└── RecordingError
    ├── RecordingFileError        the file can't be opened, or is no recording (OSError)
    │   └── RecordingBusyError        somebody else records to it
    └── MalformedRecordingError   a line is no event (ValueError)
```
"""

from __future__ import annotations

from pathlib import Path

from encore_events.errors import EncoreError


class RecordingError(EncoreError):
    """The root of what goes wrong with recordings."""


class RecordingFileError(RecordingError, OSError):
    """The file can't be recorded to, or can't be read."""

    def __init__(self, path: Path, reason: str) -> None:
        """Say what is the matter with the file at `path`."""
        super().__init__(f"{str(path)!r} {reason}")
        self.path = path
        self.reason = reason


class RecordingBusyError(RecordingFileError):
    """One file takes one recorder."""

    def __init__(self, path: Path) -> None:
        """Say which file somebody else records to."""
        super().__init__(path, "is being recorded to by another recorder: choose another file, or disconnect that one")


class MalformedRecordingError(RecordingError, ValueError):
    """A line of a recording is no event."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        """Say what is wrong with which `line` of the file, counted from 1."""
        super().__init__(f"line {line:,} of {str(path)!r} is not an event: {reason}")
        self.path = path
        self.line = line
        self.reason = reason
