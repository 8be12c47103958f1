"""What a client asks for: which events, of which stores, since when."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from encore_storage.events import Operation, Outcome, TransactionOutcome
from encore_storage.server.errors import QueryError
from encore_storage.server.ring import BufferedEvent

OPERATIONS: tuple[str, ...] = get_args(Operation)
OUTCOMES: tuple[str, ...] = (*get_args(Outcome), *get_args(TransactionOutcome))
VIEWS = ("events", "summary")

_NAMES = ("type", "store", "operation", "outcome", "since", "view")
_OF_SUMMARIES = ("store", "since", "view")
_PATTERN = re.compile(r"[\w.*-]{1,200}")
_POSITION = re.compile(r"([0-9a-f]{8})-(\d{1,18})")
_EVENT_ID = re.compile(r"[0-9a-f]{16}")
_SHOWN = 100
_MOST_VALUES = 16
_MOST_ASTERISKS = 8

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Position:
    """After which event to go on: the run of the program and its number there; or its id; or since when, in seconds."""

    run: str = ""
    number: int = 0
    time: float | None = None
    id: str | None = None


@dataclass(frozen=True)
class Query:
    """Which events a client wants; what isn't given leaves nothing out.

    Attributes:
        types: patterns, in which `*` stands for anything, dots included.
        stores: names of stores.
        operations: names of operations; what is no event of an operation is left out.
        outcomes: how operations or transactions ended; what has not ended is left out.
        since: when they were emitted at the earliest, in seconds since the epoch.
    """

    types: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    since: float = -math.inf

    def accepts(self, event: BufferedEvent) -> bool:
        """Whether the client wants this event."""
        return (
            event.time >= self.since
            and (not self.stores or event.store in self.stores)
            and (not self.operations or event.operation in self.operations)
            and (not self.outcomes or event.outcome in self.outcomes)
            and (not self.types or any(_matches(pattern, event.type) for pattern in self.types))
        )


def _matches(pattern: str, type: str) -> bool:  # noqa: A002 (what CloudEvents call it)
    """Whether the pieces between the asterisks occur in that order; in linear time, whatever the pattern."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == type
    *middle, last = others
    if not (type.startswith(first) and type.endswith(last) and len(first) + len(last) <= len(type)):
        return False
    start, end = len(first), len(type) - len(last)
    for piece in middle:
        found = type.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True


def parse_query(pairs: Pairs) -> Query:
    """The query that these parameters ask for.

    Raises:
        QueryError: a parameter is unknown, or its value can't be used.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in _NAMES:
            raise QueryError(f"there is no parameter {_shown(name)}: there are {', '.join(_NAMES)}")
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if len(values) > _MOST_VALUES:
            raise QueryError(f"{name} is given {len(values)} times: at most {_MOST_VALUES} can be asked for at once")
    types = [re.sub(r"\*+", "*", pattern) for pattern in given.get("type", ())]
    for pattern in types:
        if pattern.count("*") > _MOST_ASTERISKS:
            raise QueryError(f"type {_shown(pattern)} has more than {_MOST_ASTERISKS} asterisks")
        if not _PATTERN.fullmatch(pattern):
            raise QueryError(
                f"type {_shown(pattern)} is no pattern: letters, digits, '.', '_', '-', and '*' for anything"
            )
    return Query(
        types=tuple(types),
        stores=tuple(sorted(set(given.get("store", ())))),
        operations=_known("operation", given.get("operation", ()), OPERATIONS),
        outcomes=_known("outcome", given.get("outcome", ()), OUTCOMES),
    )


def parse_view(pairs: Pairs) -> str:
    """'events' or 'summary'.

    Raises:
        QueryError: it is neither, or asked for by what a summary doesn't tell apart.
    """
    given = _single(pairs, "view")
    (view,) = _known("view", ["events" if given is None else given], VIEWS)
    others = [name for name, _ in pairs if name not in _OF_SUMMARIES]
    if view == "summary" and others:
        raise QueryError(f"a summary can't be asked for by {others[0]}: there are {', '.join(_OF_SUMMARIES)}")
    return view


def parse_position(pairs: Pairs, last_event_id: str | None) -> Position | None:
    """Where the client left off: what `Last-Event-ID` says, else what `since` says; None for from now on.

    Raises:
        QueryError: it is neither an id of an event nor a time.
    """
    since = _single(pairs, "since")
    if last_event_id:
        return _position("Last-Event-ID", last_event_id)
    return None if since is None else _position("since", since)


def _single(pairs: Pairs, name: str) -> str | None:
    values = [value for given, value in pairs if given == name]
    if len(values) > 1:
        raise QueryError(f"{name} is given {len(values)} times: there can be one")
    return values[0] if values else None


def _position(name: str, text: str) -> Position:
    found = _POSITION.fullmatch(text)
    if found:
        return Position(found[1], int(found[2]))
    if name == "since" and _EVENT_ID.fullmatch(text):
        return Position(id=text)
    if name == "since" and re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
        return Position(time=float(text))
    if name == "since" and (moment := _moment(text)) is not None:
        if moment.tzinfo is None:
            raise QueryError(f"since {_shown(text)} has no time zone: add Z for UTC, or an offset such as +01:00")
        return Position(time=moment.timestamp())
    wanted = "the id of an event" + (
        ", seconds since the epoch, or a time such as 2026-11-24T16:30:00Z" * (name == "since")
    )
    raise QueryError(f"{name} {_shown(text)} is not {wanted}")


def _moment(text: str) -> datetime | None:
    if text.isdecimal():
        return None  # too many seconds, and no date that anybody would write like this
    for written in (text, text.replace(" ", "+")):  # a plus that nobody quoted has become a blank
        try:
            return datetime.fromisoformat(written)
        except ValueError:
            pass
    return None


def _known(name: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if value not in known:
            raise QueryError(f"there is no {name} {_shown(value)}: there are {', '.join(known)}")
    return tuple(values)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
