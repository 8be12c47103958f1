"""Odd values in a program's own events, brought into a form that can be counted, shown and kept."""

from __future__ import annotations

from encore_events.printing import printable
from encore_events.text import text_of

MOST = 2**63
"""The limit of a number that is counted. The sum of many such numbers is still a finite float."""

_NUMBERS = (int, float)  # made once: a union takes longer than the check
_SHOWN_AS_THEY_ARE = (bool, float)
_LONGEST_ID = 200  # characters of an id that stands for a value without a hash


def countable(value: float) -> float:
    """Return a number as it is counted: 0 unless it is one from 0 up to `MOST`. Raises TypeError if it is no number.

    >>> countable(5), countable(10**400), countable(float("nan"))
    (5, 0, 0)
    """
    return value if 0 <= value < MOST else 0


def number_of(value: object) -> float | None:
    """Return a number from 0 up to `MOST`, or None for anything else."""
    return value if isinstance(value, _NUMBERS) and 0 <= value < MOST else None


def shown(value: object) -> object:
    """Return an attribute as a log has it: a number or None, or text that is one line without terminal codes."""
    if type(value) is str:  # first, since most are
        return printable(value)
    if value is None or isinstance(value, _SHOWN_AS_THEY_ARE):
        return value
    if isinstance(value, int):
        return value if abs(value) < MOST else None
    return printable(text_of(value))


def hashable(id: object) -> object:  # noqa: A002 (the name that events use)
    """Return what stands for an id in a dict: the id itself, or text of one that has no hash."""
    if type(id) is str:
        return id
    try:
        hash(id)
    except Exception:  # noqa: BLE001 (a program's own method)
        return text_of(id)[:_LONGEST_ID]
    return id
