"""Where events are read: an address as somebody types it, and what can be wrong with it.

```
EncoreError
├── EventsAddressError    no such address can be read from (ValueError)
├── RefusedError          it answers, but gives no events, and won't if it is asked again
└── UnreachableError      nobody answers there now (OSError)
```
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from encore_events import EncoreError
from encore_storage.server.hosts import is_loopback

EVENTS = "/events"
EXAMPLE = "http://127.0.0.1:9464"

_BESIDE = (EVENTS, "/metrics", "/api/operations", "/healthz", "/login")


class EventsAddressError(EncoreError, ValueError):
    """What was given is no address to read events from."""

    def __init__(self, text: str) -> None:
        """Say what was given, and what to give."""
        super().__init__(f"{text!r} is no address of a page: give one such as {EXAMPLE}, as the program has told it")
        self.text = text


class RefusedError(EncoreError):
    """The answer is no, or nothing that Encore understands: asking again won't help."""


class UnreachableError(EncoreError, OSError):
    """There is no answer: the program may not run, or not yet."""


@dataclass(frozen=True)
class EventsAddress:
    """Where a program tells its events.

    Attributes:
        url: of the stream of events.
        query: what the address itself asks for.
        shown: what it is called in sentences; nothing secret is in it.
        is_loopback: whether it is on this machine.
    """

    url: str
    query: tuple[tuple[str, str], ...]
    shown: str
    is_loopback: bool

    @classmethod
    def parse(cls, text: str) -> EventsAddress:
        """The address of the events, from that of the page, or of anything else that is served beside it.

        >>> EventsAddress.parse("127.0.0.1:9464/metrics").url
        'http://127.0.0.1:9464/events'

        Raises:
            EventsAddressError: it can't be one.
        """
        parts = _split(text)
        path = parts.path.rstrip("/")
        ending = next((ending for ending in _BESIDE if path.endswith(ending)), "")
        path = path.removesuffix(ending) + EVENTS
        if ending == EVENTS:
            query = [pair for pair in _pairs(parts.query) if pair[0] != "view"]  # its summaries are for the page
        else:
            query = [pair for pair in _pairs(parts.fragment) if pair[0] == "store"]  # which the page was showing
        return cls(
            url=f"{parts.scheme}://{parts.netloc}{path}",
            query=tuple(query),
            shown=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            is_loopback=is_loopback(parts.hostname or ""),
        )


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True)


def _split(text: str) -> SplitResult:
    if not text.isprintable() or " " in text:
        raise EventsAddressError(text)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise EventsAddressError(text) from error
    if not is_usable:
        raise EventsAddressError(text)
    return parts
