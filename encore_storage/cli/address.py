"""The address from which `encore tail` reads events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from encore_storage.cli.errors import EventsAddressError
from encore_storage.server.hosts import is_loopback

Query = Sequence[tuple[str, str]]

EVENTS = "/events"

_LOGIN = "/login"
_SIBLINGS = (EVENTS, "/metrics", "/api/operations", "/healthz", _LOGIN)


@dataclass(frozen=True)
class EventsAddress:
    """The address of a program's event stream.

    Attributes:
        url: of the stream.
        query: parameters in the query and the fragment of the given address. The server refuses unknown ones.
        shown: the address in messages, without credentials.
        is_loopback: whether it is on this machine.
    """

    url: str
    query: Query
    shown: str
    is_loopback: bool

    @classmethod
    def parse(cls, text: str) -> EventsAddress:
        """Parse the address of the page, the event stream or anything served beside them. Raises EventsAddressError.

        >>> EventsAddress.parse("127.0.0.1:9464/metrics").url
        'http://127.0.0.1:9464/events'
        """
        parts = _split(text)
        path = parts.path.rstrip("/")
        ending = next((ending for ending in _SIBLINGS if path.endswith(ending)), "")
        path = path.removesuffix(ending) + EVENTS
        foreign = {"view", "code"} if ending == _LOGIN else {"view"}  # summaries are for the page, codes for the login
        query = tuple(pair for pair in _parameters(parts) if pair[0] not in foreign)
        return cls(
            url=f"{parts.scheme}://{parts.netloc}{path}",
            query=query,
            shown=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            is_loopback=is_loopback(parts.hostname or ""),
        )


def _parameters(parts: SplitResult) -> Iterator[tuple[str, str]]:
    yield from parse_qsl(parts.query, keep_blank_values=True)
    if "=" in parts.fragment:  # otherwise it is a place on the page, such as #main
        yield from parse_qsl(parts.fragment, keep_blank_values=True)


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
