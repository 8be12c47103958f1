"""The error of the codec.

```
EncoreError
└── CodecError                    no CloudEvent, or none that can become an event (ValueError)
```
"""

from __future__ import annotations

from encore_events.errors import EncoreError


class CodecError(EncoreError, ValueError):
    """What was to be decoded is no CloudEvent, or none that can become an event."""

    def __init__(self, place: str, reason: str) -> None:
        """Say what is wrong at `place`, as in "data.duration must be a number"."""
        super().__init__(f"{place} {reason}")
        self.place = place
        self.reason = reason
