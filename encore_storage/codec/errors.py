"""The errors of the codec, and the bases of those that it decodes.

```
EncoreError
├── CodecError                    no CloudEvent, or none that can become an event (ValueError)
└── StoreError
    └── RecordedError             an error of a recorded event
BaseException
└── RecordedInterruption          the same for what is no Exception
```
"""

from __future__ import annotations

from typing import ClassVar

from encore_events.errors import EncoreError
from encore_storage.errors import StoreError


class CodecError(EncoreError, ValueError):
    """What was to be decoded is no CloudEvent, or none that can become an event."""

    def __init__(self, place: str, reason: str) -> None:
        """Say what is wrong at `place`, as in "data.duration must be a number"."""
        super().__init__(f"{place} {reason}")
        self.place = place
        self.reason = reason


class RecordedError(StoreError):
    """An error of a recorded event: its class has the name of the original one, and its `str` is the same.

    Attributes:
        error_type: its category as recorded, see `encore_storage.errors.ERROR_TYPES`.
        errno: the system's number for it, or None.
    """

    errno: int | None = None


class RecordedInterruption(BaseException):
    """A recorded interruption, such as a KeyboardInterrupt, which must not end the program that decodes it."""

    error_type: ClassVar[str | None] = None
    errno: int | None = None
