"""The choice of the log lines of operations without a failure: by level, by duration and by a share."""

from __future__ import annotations

import itertools
import logging
from typing import Literal, get_args

from encore_storage.subscribers.catalogue import OPERATIONS, OTHER
from encore_storage.subscribers.labels import closed

Level = Literal["debug", "info", "warning", "error"]

NUMBERS: dict[Level, int] = {level: getattr(logging, level.upper()) for level in get_args(Level)}
"""The number of each level in the standard library."""

_SUCCESSES = ("ok", "miss", "committed", "closed")


class Volume:
    """The lines to log of operations and transactions without a failure.

    A share is chosen by counting, not at random: of `n` operations of a kind, `n` times the share, less than one more
    or less, evenly spaced. The first is chosen, unless the share is 0. A kind is an operation's name and outcome.

    Args:
        slow: the seconds from which on an operation is always logged, or None.
        sample: the share of the other operations to log. None stands for 1 without `slow`, and for 0 with it.
    """

    def __init__(self, slow: float | None, sample: float | None) -> None:
        self._slow = checked_slow(slow)
        given = checked_sample(sample)
        self._taken, self._of = _ratio(float(slow is None if given is None else given))
        kinds = itertools.product((*OPERATIONS, OTHER), _SUCCESSES)
        self._counts = {kind: itertools.count() for kind in kinds}  # `next` of these needs no lock

    def __repr__(self) -> str:
        slow = "" if self._slow is None else f" below {self._slow} s"
        return f"<Volume: {self._taken} of {self._of}{slow}>"

    def has(self, operation: object, outcome: object, duration: float | None) -> bool:
        """Return whether an operation or transaction is logged; count it if that depends on the share."""
        if outcome not in _SUCCESSES or self._taken == self._of:
            return True
        if self._slow is not None and (duration or 0) >= self._slow:
            return True
        if not self._taken:
            return False
        number = next(self._counts[closed(operation, OPERATIONS), str(outcome)])
        return number * self._taken % self._of < self._taken


def _ratio(share: float) -> tuple[int, int]:
    """Return a share as it is written: 0.07 is 7 of 100.

    >>> _ratio(0.07), _ratio(1.0)
    ((7, 100), (1, 1))
    """
    if share in {0, 1}:
        return int(share), 1
    from fractions import Fraction  # noqa: PLC0415 (it takes long to import, and is rarely needed)

    return Fraction(str(share)).as_integer_ratio()


def checked_level(level: Level, name: str = "level") -> int:
    """Return the number of a level. Raises ValueError."""
    if level not in tuple(NUMBERS):
        raise ValueError(f"{name} must be one of {', '.join(NUMBERS)}, not {level!r}")
    return NUMBERS[level]


def checked_slow(slow: float | None, name: str = "slow") -> float | None:
    """Return seconds, or None. Raises TypeError and ValueError."""
    if slow is not None:
        if isinstance(slow, bool) or not isinstance(slow, int | float):
            raise TypeError(f"{name} must be a number of seconds, such as 0.5, or None, not {slow!r}")
        if not slow >= 0:
            raise ValueError(f"{name} must be at least 0 seconds, not {slow!r}")
    return slow


def checked_sample(sample: float | None, name: str = "sample") -> float | None:
    """Return a share, or None. Raises TypeError and ValueError."""
    if sample is not None:
        if isinstance(sample, bool) or not isinstance(sample, int | float):
            raise TypeError(f"{name} must be a share from 0 to 1, such as 0.01, or None, not {sample!r}")
        if not 0 <= sample <= 1:
            raise ValueError(f"{name} must be a share from 0 to 1, such as 0.01, not {sample!r}")
    return sample
