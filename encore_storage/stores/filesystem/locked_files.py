"""Open files whose locks this process has, which no forked child may share.

The lock of an open file is shared with a forked child, who has the same descriptor. If the parent is killed, the child
would keep its locks for it. So a child closes such files at once, and never unlocks them.
"""

from __future__ import annotations

import os
import weakref

from encore_events import forks
from encore_events.owner import here
from encore_storage.errors import ForkedStoreError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.system import is_locked, lock, unlock

_made: dict[int, weakref.ref[LockedFile]] = {}
"""All of them, by identity."""


class LockedFile:
    """A file to be opened and locked, and closed at the latest when this is collected.

    Attributes:
        thread: the token of the thread that made this.
    """

    __slots__ = ("__weakref__", "_held", "_process", "thread")

    def __init__(self) -> None:
        """Make it with nothing open."""
        self._held = Descriptors()
        self._process = forks.current
        self.thread = here.token
        identity, forget = id(self), _made.pop
        _made[identity] = weakref.ref(self, lambda _: forget(identity, None))

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._held[0]

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return bool(self._held)

    @property
    def is_ours(self) -> bool:
        """Whether it was opened by this process, and not by the one that this was forked from."""
        return self._process is forks.current

    def check_process(self, path: str) -> None:
        """Refuse to go on in a forked child with what its parent has begun. Raises ForkedStoreError."""
        if not self.is_ours:
            raise ForkedStoreError(f"the writing of {path!r}", self._process.pid, "write anew in the child")

    def open(self, name: str, flags: int, mode: int, *, parent: int) -> int:
        """Open it, and return its descriptor."""
        return self._held.open(name, flags, mode, parent=parent)

    def close(self) -> None:
        """Close it; doing so twice changes nothing."""
        self._held.close()

    def lock(self) -> None:
        """Wait until nobody else has its lock, and take it."""
        lock(self.fd)

    def try_lock(self) -> bool:
        """Take its lock if nobody else has it, and return whether that is so."""
        return not is_locked(self.fd)

    def unlock(self) -> None:
        """Give its lock back."""
        unlock(self.fd)

    def is_locked_here(self) -> bool:
        """Return whether the calling thread itself has this file locked, or waits for it, by another descriptor."""
        return any(other is not self and other.thread is here.token and _are_same(self, other) for other in _all())


def close_inherited(_: object) -> None:
    """Close what belongs to the process that this one was forked from."""
    for file in _all():
        if not file.is_ours:
            file.close()


def _all() -> list[LockedFile]:
    return [file for reference in list(_made.values()) if (file := reference()) is not None]


def _are_same(one: LockedFile, other: LockedFile) -> bool:
    try:
        return os.path.sameopenfile(one.fd, other.fd)
    except (IndexError, OSError):  # closed, or not open yet
        return False
