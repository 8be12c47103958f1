"""A right that is granted once."""

from __future__ import annotations

__all__ = ["Once"]


class Once:
    """A right that only the first caller of `take()` gets.

    `take()` is atomic for threads, signal handlers and finalizers, and acquires no lock.

    >>> closing = Once()
    >>> closing.take(), closing.take()
    (True, False)
    """

    __slots__ = ("_right",)

    def __init__(self) -> None:
        self._right = iter((True,))

    def take(self) -> bool:
        """Return True to the first caller and False to all others."""
        return next(self._right, False)
