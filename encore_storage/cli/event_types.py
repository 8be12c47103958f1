"""The check of the patterns for types of events, before `encore tail` waits for events that never come."""

from __future__ import annotations

from collections.abc import Iterator

from encore_storage.cli.address import Query
from encore_storage.cli.errors import UnknownTypeError
from encore_storage.codec.types import FOREIGN, TYPES
from encore_storage.server.query import is_pattern, matches


def check_types(query: Query) -> None:
    """Raise UnknownTypeError for a pattern that matches no type of Encore and no program's own type.

    Malformed patterns pass; the server refuses them and says why.
    """
    for name, pattern in query:
        if name == "type" and is_pattern(pattern) and not _is_known(pattern):
            raise UnknownTypeError(pattern, TYPES)


def notes_on_types(query: Query) -> Iterator[str]:
    """Yield a note on each pattern that may be misspelt: it matches only types that a program has registered.

    >>> list(notes_on_types([("type", "*.ended"), ("type", "python.shop.Sold"), ("type", "*.endd")]))
    ["type '*.endd' matches no type of Encore: only a program's own events can match"]
    """
    for name, pattern in query:
        if name == "type" and is_pattern(pattern) and not (pattern.startswith(FOREIGN) or _is_of_encore(pattern)):
            yield f"type {pattern!r} matches no type of Encore: only a program's own events can match"


def _is_known(pattern: str) -> bool:
    """Return whether there may be events of a type that matches.

    >>> [_is_known(pattern) for pattern in ("*.ended", "python.shop.Sold", "*.Sold", "operation.ended", "encore.*.end")]
    [True, True, True, False, False]
    """
    start, asterisk, _ = pattern.partition("*")
    may_be_foreign = start.startswith(FOREIGN) or (bool(asterisk) and FOREIGN.startswith(start))
    return may_be_foreign or _is_of_encore(pattern)


def _is_of_encore(pattern: str) -> bool:
    return any(matches(pattern, type_) for type_ in TYPES)
