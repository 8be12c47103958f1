"""Odd values in a program's own events, brought into a form that can be counted, shown and kept."""

from __future__ import annotations

from encore_events.printing import printable
from encore_events.text import repr_of, text_of

MOST = 2**63
"""The limit of a number that is counted. The sum of many such numbers is still a finite float."""

_NUMBERS = (int, float)  # made once: a union takes longer than the check
_SHOWN_AS_THEY_ARE = (bool, float)
_LONGEST_ID = 200  # characters that stand for an id without a hash


def countable(value: float) -> float:
    """Return a number as it is counted: 0 unless it is one from 0 up to `MOST`. Raises TypeError if it is no number.

    >>> countable(5), countable(10**400), countable(float("nan"))
    (5, 0, 0)
    """
    return value if 0 <= value < MOST else 0


def number_of(value: object) -> float | None:
    """Return a number from 0 up to `MOST`, or None for anything else."""
    return value if isinstance(value, _NUMBERS) and 0 <= value < MOST else None


def name_of(value: object) -> str | None:
    """Return an attribute that is a name as a string, which can be compared and kept; or None, if it is None."""
    return value if value is None or type(value) is str else text_of(value)


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
    """Return what stands for an id in a dict, where none of its methods can raise: the id itself if it is plain."""
    return id if type(id) in _WITH_OWN_HASH else _Id(id)


class _Id:
    """An id of any class: equal to those that the program calls equal, even if its methods raise."""

    __slots__ = ("_hash", "_id")

    def __init__(self, id: object) -> None:  # noqa: A002 (as above)
        self._id = id
        try:
            self._hash = hash(id)
        except Exception:  # noqa: BLE001 (a program's own method)
            self._hash = hash(text_of(id)[:_LONGEST_ID])

    def __repr__(self) -> str:
        return f"<Id: {repr_of(self._id)}>"

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        theirs = other._id if isinstance(other, _Id) else other
        if self._id is theirs:
            return True
        try:
            return bool(self._id == theirs)
        except Exception:  # noqa: BLE001 (as above)
            return False


_WITH_OWN_HASH = frozenset((str, int, float, bool, bytes, type(None), _Id))
