"""File descriptors that a forked child must not keep open."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from encore_events.forks import around_forks, renew_in_child, this_process

_FORK_SECONDS = 1.0  # that a fork waits: a finalizer in the middle of an opening may wait for the forking thread


class OwnDescriptor:
    """A file descriptor of one process: a forked child closes its copy, which would hold the parent's locks.

    The program may close descriptors, and others may reuse their numbers. So a number is used only while it is still
    that of the file. Make one with `open()`, or in a block of `opening()`.

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

    @classmethod
    def open(cls, path: str | os.PathLike[str], flags: int) -> OwnDescriptor:
        """Open a file, without following a link; if it is made, only the user can read it. Raises OSError."""
        with opening() as own:
            return own(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))

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


@contextlib.contextmanager
def opening() -> Iterator[Callable[[int], OwnDescriptor]]:
    """Keep other threads from forking while the block opens descriptors; it passes each to the function it gets.

    A child forked between the two would keep a copy that nothing releases. The block must not wait for another process,
    since a fork waits for it.

    Raises:
        OSError: the calling thread itself has forked in the block, in a signal handler or a finalizer, and this is the
            child.
    """
    process, made = this_process(), list[OwnDescriptor]()

    def own(number: int) -> OwnDescriptor:
        made.append(OwnDescriptor(number))
        return made[-1]

    lock = _openings.lock  # a fork in the block replaces it
    is_held = lock.acquire(timeout=_FORK_SECONDS)  # its holder may wait for the caller, in a finalizer that counts
    try:
        yield own
    finally:
        if is_held:
            lock.release()
    if process is not this_process():
        for each in made:
            each.release()
        raise OSError("this process was forked while it opened a file or a socket")


def put_on_null(number: int) -> None:
    """Close a descriptor, but keep its number on /dev/null: code that closes the number later closes no other file.

    If there are no more descriptors, the number is closed.
    """
    try:
        with open(os.devnull, "rb") as null:  # noqa: PTH123 (only the file descriptor is used)
            os.dup2(null.fileno(), number, inheritable=False)
    except OSError:
        os.close(number)


class _Openings:
    """The lock that a thread holds while it opens a descriptor or forks; a fork gives up after a while.

    It is reentrant, since a signal handler or a finalizer may fork in the middle of an opening.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        around_forks(self, _Openings._before, _Openings._after)
        renew_in_child(self, _Openings._renew)

    def _before(self) -> None:
        self.lock.acquire(timeout=_FORK_SECONDS)

    def _after(self) -> None:
        with contextlib.suppress(RuntimeError):  # the fork has given up
            self.lock.release()

    def _renew(self) -> None:
        self.lock = threading.RLock()


_openings = _Openings()


def _identity(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino
