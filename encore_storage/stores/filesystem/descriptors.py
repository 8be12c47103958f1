"""Descriptors that no interrupt loses."""

from __future__ import annotations

import os
from functools import partial
from types import TracebackType
from typing import Self

_FIRST = (0,)
"""The index of what `pop` takes."""


class Descriptors(list[int]):
    """The descriptors of open files and directories, closed at the latest when this is collected.

    An interrupt may come between any two steps of the interpreter. If it came between the return of `os.open` and the
    step that keeps its result, nobody would know the descriptor. So each is opened and kept, and forgotten and closed,
    in one step. A list, since it needs no steps of its own to be made.
    """

    __slots__ = ()

    def open(self, name: str, flags: int, mode: int = 0o777, *, parent: int | None = None) -> int:
        """Open a file or a directory, and return its descriptor, which is not to be closed by others."""
        self.__class__ = OpenDescriptors
        opening = os.open if parent is None else partial(os.open, dir_fd=parent)
        self.extend(map(opening, (name,), (flags,), (mode,)))
        return self[-1]

    def close_first(self) -> None:
        """Close the one that was opened first. One that fails to close is closed all the same."""
        try:
            any(map(os.close, map(self.pop, _FIRST)))
        except (IndexError, OSError):
            return

    def close(self) -> None:
        """Close all of them; doing so twice changes nothing."""
        while self:
            try:
                any(map(os.close, map(self.pop, _FIRST)))
            except (IndexError, OSError):
                continue
        self.__class__ = Descriptors

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all of them."""
        self.close()


class OpenDescriptors(Descriptors):
    """Descriptors that were not closed.

    An interrupt that arrives in a finalizer is lost. So only those that were not closed have one.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Close them."""
        while self:
            self.close_first()
