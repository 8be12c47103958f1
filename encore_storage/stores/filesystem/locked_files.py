"""Open files with locks, which no forked child may share.

A forked child inherits the descriptor of an open file, and shares its lock. If the parent is killed, the child would
keep the lock. So a child closes such files at once, and never unlocks them.
"""

from __future__ import annotations

import os
import weakref
from functools import partial

from encore_events import forks
from encore_events.owner import here
from encore_storage.errors import ForkedStoreError
from encore_storage.stores.filesystem.descriptors import Descriptors

_files: dict[int, weakref.ref[LockedFile]] = {}  # by id


class LockedFile:
    """A file to open and lock, closed at the latest when this is collected.

    Attributes:
        thread: the token of the thread that made this.
    """

    __slots__ = ("__weakref__", "_held", "_process", "thread")

    def __init__(self) -> None:
        self._held = Descriptors()
        self._process = forks.current
        self.thread = here.token
        identity = id(self)
        _files[identity] = weakref.ref(self, partial(_files.pop, identity))  # in C, where no interrupt is lost

    @property
    def fd(self) -> int:
        """The descriptor."""
        return self._held[0]

    @property
    def is_open(self) -> bool:
        """True if the file is open."""
        return bool(self._held)

    @property
    def is_ours(self) -> bool:
        """True if this process made it, and not the one that this was forked from."""
        return self._process is forks.current

    def check_process(self, path: str) -> None:
        """Raise ForkedStoreError in a forked child."""
        if not self.is_ours:
            raise ForkedStoreError(f"the writing of {path!r}", self._process.pid, "write anew in the child")

    def open(self, name: str, flags: int, mode: int, *, parent: int) -> int:
        """Open the file, and return its descriptor."""
        return self._held.open(name, flags, mode, parent=parent)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._held.close()

    def is_locked_here(self) -> bool:
        """Return whether the calling thread holds, or waits for, the lock of this file by another descriptor."""
        return any(other is not self and other.thread is here.token and _are_same(self, other) for other in _all())


def close_inherited(_: object) -> None:
    """Close the files of the process that this one was forked from."""
    for file in _all():
        if not file.is_ours:
            file.close()


def _all() -> list[LockedFile]:
    return [file for reference in list(_files.values()) if (file := reference()) is not None]


def _are_same(one: LockedFile, other: LockedFile) -> bool:
    try:
        return os.path.sameopenfile(one.fd, other.fd)
    except (IndexError, OSError):  # closed, or not open yet
        return False
