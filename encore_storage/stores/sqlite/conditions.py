"""Conditions of SQL on metadata, so that a query does not parse the metadata of every key in Python."""

from __future__ import annotations

import contextlib
import functools
import glob
import math
import sqlite3
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

_MOST = 8  # items to compare in SQL
_LONGEST_NAME = 4000  # a pattern has two of them, escaped; SQLite limits it to 50,000 bytes
_MARGIN = 1e-9  # SQLite may parse a number differently in its last digits
_TYPES: dict[type, str] = {type(None): "null", list: "array", dict: "object"}

# Other programs may escape a name, which SQLite does not undo before 3.45. They may also repeat one: SQLite finds its
# first value, and Python its last. Only rows in which a pattern finds the name twice get the slower check for that.
_ESCAPED = r"metadata GLOB '*\u00[2-7]*' OR metadata GLOB '*\/*'"
_REPEATED = "metadata GLOB ? AND json_type(json_remove(metadata, ?), ?) IS NOT NULL"


class Condition(NamedTuple):
    """A condition that is true for each row whose metadata has the wanted items, and for few others.

    The metadata may be any JSON that Python can parse, written by any program.

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
    ('$."state"', 'open', '*"state"*"state"*', '$."state"', '$."state"')
    """
    found = (_of_item(name, value) for name, value in wanted.items() if _is_plain(name))
    each = list(islice(filter(None, found), _MOST))
    if not each or not _has_json():
        return EVERY_ROW
    sql = " AND ".join(one.sql for one in each)
    # What SQLite cannot parse, and what is not an object, passes, so that the query returns it, or raises the error.
    # Only after a WHEN does SQLite stop at the part that decides.
    return Condition(
        f"CASE WHEN metadata NOT GLOB '{{*' OR NOT json_valid(metadata) THEN 1 WHEN {sql} OR {_ESCAPED} THEN 1 END",
        tuple(parameter for one in each for parameter in one.parameters),
    )


def _of_item(name: str, value: object) -> Condition | None:
    path, quoted = f'$."{name}"', glob.escape(f'"{name}"')
    compared = _comparison(path, value)
    if compared is None:
        return None
    return Condition(f"({compared.sql} OR {_REPEATED})", (*compared.parameters, f"*{quoted}*{quoted}*", path, path))


def _comparison(path: str, value: object) -> Condition | None:
    kind = type(value)  # subclasses may define another equality
    if kind in _TYPES:
        return Condition("json_type(metadata, ?) = ?", (path, _TYPES[kind]))
    if isinstance(value, str) and kind is str and _is_storable(value):
        return Condition("json_extract(metadata, ?) = ?", (path, value))
    if isinstance(value, int | float) and kind in (bool, int, float):
        with contextlib.suppress(OverflowError):
            number = float(value)
            margin = abs(number) * _MARGIN + sys.float_info.min
            if math.isfinite(number):
                return Condition("json_extract(metadata, ?) BETWEEN ? AND ?", (path, number - margin, number + margin))
    return None


def _is_plain(name: str) -> bool:
    """Return whether a path of SQLite finds the name, if the JSON holds it without escapes."""
    return name.isascii() and name.isprintable() and '"' not in name and "\\" not in name and len(name) <= _LONGEST_NAME


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
