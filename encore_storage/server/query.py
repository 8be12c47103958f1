"""The query parameters of /events."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from encore_storage.codec.messages import short_repr
from encore_storage.events import Operation, Outcome, TransactionOutcome
from encore_storage.server.errors import QueryError
from encore_storage.server.ring import BufferedEvent

OPERATIONS: tuple[str, ...] = get_args(Operation)
OUTCOMES: tuple[str, ...] = (*get_args(Outcome), *get_args(TransactionOutcome))
VIEWS = ("events", "summary")

_NAMES = ("type", "store", "operation", "outcome", "process", "since", "view")
_SUMMARY_NAMES = ("store", "process", "since", "view")
_PATTERN = re.compile(r"[\w.*-]{1,200}")
_POSITION = re.compile(r"([0-9a-f]{8})-(\d{1,18})")
_EVENT_ID = re.compile(r"[0-9a-f]{16}")
_PID = re.compile(r"[1-9]\d{0,9}")
_MAX_VALUES = 16
_MAX_ASTERISKS = 8

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Position:
    """The event after which a stream starts, by run and number, by id, or by time in seconds since the epoch."""

    run: str = ""
    number: int = 0
    time: float | None = None
    id: str | None = None


@dataclass(frozen=True)
class Query:
    """A filter of events; empty attributes accept all.

    Attributes:
        types: patterns, in which `*` matches anything, dots included.
        stores: names of stores.
        operations: names of operations.
        outcomes: outcomes of operations and transactions.
        processes: ids of processes.
        since: the earliest time of emission, in seconds since the epoch.
    """

    types: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()
    since: float = -math.inf

    def accepts(self, event: BufferedEvent) -> bool:
        """Return whether the event passes the filter."""
        return (
            event.time >= self.since
            and (not self.stores or event.store in self.stores)
            and (not self.operations or event.operation in self.operations)
            and (not self.outcomes or event.outcome in self.outcomes)
            and (not self.processes or event.process in self.processes)
            and (not self.types or any(matches(pattern, event.type) for pattern in self.types))
        )


def is_pattern(text: str) -> bool:
    """Return whether a text has only the characters of a pattern for types."""
    return _PATTERN.fullmatch(text) is not None


def matches(pattern: str, type: str) -> bool:  # noqa: A002 (the name in CloudEvents)
    """Match a pattern in linear time: find the pieces between its asterisks in order."""
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
    """Parse a query. Raises QueryError if a parameter is unknown or invalid."""
    values_by_name: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in _NAMES:
            raise QueryError(f"unknown parameter {short_repr(name)}: use one of {', '.join(_NAMES)}")
        values_by_name.setdefault(name, []).append(value)
    for name, values in values_by_name.items():
        if len(values) > _MAX_VALUES:
            raise QueryError(f"parameter {name!r} repeated {len(values)} times: give at most {_MAX_VALUES} values")
    types = [re.sub(r"\*+", "*", pattern) for pattern in values_by_name.get("type", ())]
    for pattern in types:
        if pattern.count("*") > _MAX_ASTERISKS:
            raise QueryError(f"invalid type {short_repr(pattern)}: use at most {_MAX_ASTERISKS} asterisks")
        if not is_pattern(pattern):
            raise QueryError(f"invalid type {short_repr(pattern)}: use letters, digits, '.', '_', '-' and '*'")
    return Query(
        types=tuple(types),
        stores=tuple(sorted(set(values_by_name.get("store", ())))),
        operations=_known("operation", values_by_name.get("operation", ()), OPERATIONS),
        outcomes=_known("outcome", values_by_name.get("outcome", ()), OUTCOMES),
        processes=tuple(sorted({_pid(value) for value in values_by_name.get("process", ())})),
    )


def parse_view(pairs: Pairs) -> str:
    """Parse the view, 'events' or 'summary'. Raises QueryError, also for a parameter that a summary does not have."""
    view = _single(pairs, "view")
    (view,) = _known("view", ["events" if view is None else view], VIEWS)
    others = [name for name, _ in pairs if name not in _SUMMARY_NAMES]
    if view == "summary" and others:
        raise QueryError(f"invalid summary parameter {others[0]!r}: use one of {', '.join(_SUMMARY_NAMES)}")
    return view


def parse_position(pairs: Pairs, last_event_id: str | None) -> Position | None:
    """Parse `Last-Event-ID`, or else `since`; None if neither is given. Raises QueryError."""
    since = _single(pairs, "since")
    if last_event_id:
        return _position("Last-Event-ID", last_event_id)
    return None if since is None else _position("since", since)


def _single(pairs: Pairs, name: str) -> str | None:
    values = [value for key, value in pairs if key == name]
    if len(values) > 1:
        raise QueryError(f"parameter {name!r} repeated {len(values)} times: give it once")
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
            raise QueryError(f"time without zone {short_repr(text)}: add Z for UTC, or an offset such as +01:00")
        return Position(time=moment.timestamp())
    advice = "use the id of a message"
    if name == "since":
        advice += " or of an event, seconds since the epoch, or a time such as 2026-11-24T16:30:00Z"
    raise QueryError(f"invalid {name} {short_repr(text)}: {advice}")


def _moment(text: str) -> datetime | None:
    if text.isdecimal():
        return None  # too large for seconds, though fromisoformat would read a date
    for candidate in (text, text.replace(" ", "+")):  # an unquoted plus in a URL becomes a space
        try:
            return datetime.fromisoformat(candidate)
        except ValueError:
            pass
    return None


def _pid(text: str) -> int:
    if not _PID.fullmatch(text):
        raise QueryError(f"invalid process {short_repr(text)}: use the id of a process")
    return int(text)


def _known(name: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if value not in known:
            raise QueryError(f"unknown {name} {short_repr(value)}: use one of {', '.join(known)}")
    return tuple(values)
