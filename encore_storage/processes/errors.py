"""The errors of groups of processes.

```
EncoreError
├── FrameError                    bytes that are no frames (ValueError)
└── SocketPathError               a path whose socket cannot be used (OSError)
```
"""

from __future__ import annotations

from pathlib import Path

from encore_events.errors import EncoreError


class FrameError(EncoreError, ValueError):
    """Bytes on a connection that are no frames, and the `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a frame of Encore: {reason}")
        self.reason = reason


class SocketPathError(EncoreError, OSError):
    """A path whose socket cannot be used, and the `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot use the socket {str(path)!r}: {reason}")
        self.path = path
        self.reason = reason
