"""What happens once, whoever of several threads comes first."""

from __future__ import annotations

__all__ = ["Once"]


class Once:
    """A right that is granted once: to the first caller of `take()`.

    Taking is one step for all threads, signal handlers and finalizers, and takes no lock.

    >>> closing = Once()
    >>> closing.take(), closing.take()
    (True, False)
    """

    __slots__ = ("_right",)

    def __init__(self) -> None:
        """Make a right that nobody has taken."""
        self._right = iter((True,))

    def take(self) -> bool:
        """Return True to the first caller, and False to all others."""
        return next(self._right, False)
