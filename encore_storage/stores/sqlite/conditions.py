"""Conditions of SQL on metadata, so that a query does not parse the metadata of every key in Python."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

_MOST = 8  # items to compare in SQL
_MARGIN = 1e-9  # SQLite may parse a number differently in its last digits
_TYPES: dict[type, str] = {type(None): "null", list: "array", dict: "object"}


class Condition(NamedTuple):
    """A condition that is true for each row whose metadata has the wanted items, and for few others.

    Attributes:
        sql: the condition.
        parameters: its parameters.
    """

    sql: str
    parameters: tuple[object, ...] = ()


EVERY_ROW = Condition("1")


def condition_of(wanted: Mapping[str, Any]) -> Condition:
    """Return the condition for these items. Those that SQLite cannot compare as Python does are left out.

    >>> condition_of({"state": "open"}).parameters
    ('$."state"', 'open')
    """
    found = (_of_item(name, value) for name, value in wanted.items() if _is_plain(name))
    each = list(islice(filter(None, found), _MOST))
    if not each or not _has_json():
        return EVERY_ROW
    sql = " AND ".join(one.sql for one in each)
    # What only Python can parse passes, so that the query returns it, or raises the error.
    return Condition(
        f"CASE WHEN json_valid(metadata) THEN {sql} ELSE 1 END",
        tuple(parameter for one in each for parameter in one.parameters),
    )


def _of_item(name: str, value: object) -> Condition | None:
    path, kind = f'$."{name}"', type(value)  # subclasses may define another equality
    if kind in _TYPES:
        return Condition("json_type(metadata, ?) = ?", (path, _TYPES[kind]))
    if isinstance(value, str) and kind is str and _is_storable(value):
        return Condition("json_extract(metadata, ?) = ?", (path, value))
    if isinstance(value, int | float) and kind in (bool, int, float):
        with contextlib.suppress(OverflowError):
            number = float(value)
            margin = abs(number) * _MARGIN
            return Condition("json_extract(metadata, ?) BETWEEN ? AND ?", (path, number - margin, number + margin))
    return None


def _is_plain(name: str) -> bool:
    """Return whether the name is the same in JSON, with any escapes, and in a path of SQLite."""
    return name.isascii() and name.isprintable() and '"' not in name and "\\" not in name


def _is_storable(text: str) -> bool:
    """Return whether SQLite reads the text from JSON as it is, so without NUL and half of a surrogate pair."""
    with contextlib.suppress(UnicodeEncodeError):
        return b"\0" not in text.encode()
    return False


@functools.cache
def _has_json() -> bool:
    """Return whether this SQLite has functions for JSON; before 3.38, they were optional."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        try:
            return bool(database.execute("SELECT json_valid('{}')").fetchone()[0])
        except sqlite3.OperationalError:
            return False
