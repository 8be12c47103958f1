"""File descriptors that a forked child must not keep open."""

from __future__ import annotations

import contextlib
import os

from encore_events.forks import renew_in_child


class OwnDescriptor:
    """A file descriptor of one process: a forked child closes its copy, which would hold the parent's locks.

    The program may close descriptors, and others may reuse their numbers. So a number is used only while it is still
    that of the file.

    Args:
        number: an open file descriptor, closed by `close()`.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._file = _identity(number)
        self._is_open = True
        renew_in_child(self, OwnDescriptor.release)

    def __repr__(self) -> str:
        return f"<OwnDescriptor {self._number}{'' if self.is_open else ', closed'}>"

    @property
    def is_open(self) -> bool:
        """True if the descriptor is open, and still that of its file."""
        with contextlib.suppress(OSError):
            return self._is_open and _identity(self._number) == self._file
        return False

    @property
    def number(self) -> int:
        """The file descriptor. Raises OSError if something else has closed it."""
        if not self.is_open:
            raise OSError(f"file descriptor {self._number} was closed")
        return self._number

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Return whether the path is the open file."""
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            return self.is_open and (found.st_dev, found.st_ino) == self._file
        return False

    def close(self) -> None:
        """Close the file, unless something else has done so. A second call does nothing."""
        is_open, self._is_open = self.is_open, False
        if is_open:
            os.close(self._number)

    def release(self) -> None:
        """Close the file, but keep its number on /dev/null: code that closes the number later closes no other file."""
        is_open, self._is_open = self.is_open, False
        if is_open:
            put_on_null(self._number)


def put_on_null(number: int) -> None:
    """Close a descriptor, but keep its number on /dev/null: code that closes the number later closes no other file.

    If there are no more descriptors, the number is closed.
    """
    try:
        with open(os.devnull, "rb") as null:  # noqa: PTH123 (only the file descriptor is used)
            os.dup2(null.fileno(), number, inheritable=False)
    except OSError:
        os.close(number)


def _identity(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino
