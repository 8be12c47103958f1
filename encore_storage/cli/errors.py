"""The errors of the command.

```
EncoreError
├── StoreError
│   └── StoreNameError        an argument does not name a store (ValueError)
├── RunbookUrlError           the alerts cannot link to the runbook (ValueError)
├── LogFileError              the log file cannot be opened (OSError)
├── EventsAddressError        an argument is not the address of a page (ValueError)
├── UnknownTypeError          a pattern matches no type of events (ValueError)
├── RefusedError              a server refuses to send events
└── UnreachableError          a server does not answer (OSError)
```
"""

from __future__ import annotations

from collections.abc import Iterable

from encore_events import EncoreError
from encore_events.copying import CopyableError
from encore_storage.errors import StoreError

EXAMPLE = "http://127.0.0.1:9464"  # in messages and help texts


class StoreNameError(StoreError, ValueError):
    """An argument that does not name a usable store."""


class RunbookUrlError(EncoreError, ValueError):
    """A runbook URL that the alerts cannot link to."""

    def __init__(self, runbook_url: str) -> None:
        super().__init__(
            f"cannot link to the runbook {runbook_url!r}: give a URL or a path without spaces, quotes, brackets or "
            "a fragment (each alert adds its own)"
        )
        self.runbook_url = runbook_url


class LogFileError(EncoreError, OSError):
    """A log file that cannot be opened."""


class EventsAddressError(EncoreError, ValueError):
    """An argument that is not the address of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(f"cannot read events from {text!r}: give the address of a page, such as {EXAMPLE}")
        self.text = text


class UnknownTypeError(EncoreError, ValueError):
    """A pattern that matches no type of events."""

    def __init__(self, pattern: str, types: Iterable[str]) -> None:
        known = tuple(types)
        super().__init__(
            f"unknown type {pattern!r}: use * for anything, python.* for the program's own events, or one of "
            f"{', '.join(known)}"
        )
        self.pattern = pattern
        self.types = known


class RefusedError(EncoreError):
    """A server's refusal, or an answer that is not from Encore; retrying is pointless."""


class UnreachableError(EncoreError, OSError):
    """No answer: the program may have ended, or not have started yet."""


class NobodyReadsError(CopyableError, Exception):
    """Standard output is closed, or was never open."""


class DemonstratedError(CopyableError, Exception):
    """The failure that the demonstration provokes."""
