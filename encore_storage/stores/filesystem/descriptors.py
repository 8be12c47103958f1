"""File descriptors that no interrupt can leak."""

from __future__ import annotations

import os
from functools import partial
from itertools import repeat
from typing import Self

_FIRST = (0,)  # the argument of `pop` for the first descriptor


class Descriptors(list[int]):
    """The descriptors of open files and directories, closed at the latest when this is collected.

    An interrupt may arrive between any two steps of the interpreter. Between the return of `os.open` and the step that
    stores its result, it would leak the descriptor. So each is opened and stored, and removed and closed, in one step.
    This is a list because a list takes no steps of its own to create.
    """

    __slots__ = ()

    def open(self, name: str, flags: int, mode: int = 0o777, *, parent: int | None = None) -> int:
        """Open a file or a directory, and return its descriptor, which stays owned by this object."""
        self.__class__ = OpenDescriptors
        opening = os.open if parent is None else partial(os.open, dir_fd=parent)
        self.extend(map(opening, (name,), (flags,), (mode,)))
        return self[-1]

    def close_first(self) -> None:
        """Close the descriptor that was opened first. A descriptor is closed even if closing it fails."""
        try:
            any(map(os.close, map(self.pop, _FIRST)))
        except (IndexError, OSError):
            return

    def close(self) -> None:
        """Close all descriptors, the last opened first. A second call does nothing."""
        while self:
            self._close_each()
        self.__class__ = Descriptors

    def _close_each(self) -> None:
        try:
            any(map(os.close, map(self.pop, repeat(-1, len(self)))))
        except (IndexError, OSError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OpenDescriptors(Descriptors):
    """Descriptors that were not closed. Only these have a finalizer, since an interrupt in a finalizer is lost."""

    __slots__ = ()

    def __del__(self) -> None:
        while self:
            self._close_each()
