"""What is told of keys where they are not told as they are, and of errors, whose words may quote one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

Redaction = Callable[[str], str]
"""Gives what is told in the place of a key."""

_LARGEST_ERRNO = 2**31 - 1


def checked_keys(keys: bool | Redaction) -> bool | Redaction:  # noqa: FBT001 (as it is given)
    """What was asked for: True to tell keys as they are, False to leave them out, or a redaction.

    Raises:
        TypeError: it is none of these.
    """
    if not (isinstance(cast("object", keys), bool) or callable(keys)):
        raise TypeError(f"keys must be True, False or a function of a key, not {keys!r}")
    return keys


def errno_of(error: BaseException) -> int | None:
    """The number that the system has for the error, if it has one."""
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) and abs(number) <= _LARGEST_ERRNO else None


def system_words(error: BaseException) -> str | None:
    """What the system says of the error's number, which quotes no key; None if it has none."""
    number = errno_of(error)
    return None if number is None else os.strerror(number)
