"""Redaction of keys, and of error messages, which may quote a key."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

Redaction = Callable[[str], str]  # returns the replacement of a key
_LARGEST_ERRNO = 2**31 - 1


def checked_keys(keys: bool | Redaction) -> bool | Redaction:  # noqa: FBT001 (as it is given)
    """Return `keys`: True to show keys, False to omit them, or a redaction. Raises TypeError if it is none of these."""
    if not (isinstance(cast("object", keys), bool) or callable(keys)):
        raise TypeError(f"keys must be True, False or a function of a key, not {keys!r}")
    return keys


def errno_of(error: BaseException) -> int | None:
    """Return the `errno` of the error, or None."""
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) and abs(number) <= _LARGEST_ERRNO else None


def system_message(error: BaseException) -> str | None:
    """Return the system's message for the `errno` of the error, which quotes no key, or None without an `errno`."""
    number = errno_of(error)
    return None if number is None else os.strerror(number)
