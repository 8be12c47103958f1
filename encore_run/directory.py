"""The directory of a run, in which the processes of the program count."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Self

_PREFIX = "encore-run-"


class RunDirectory:
    """A directory that only the user can read, removed at the end of the run.

    It is locked as long as the runner lives. The next run removes those of runners that were killed.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, name: str) -> Self:
        """Make a directory for a run of the program `name`. Raises OSError."""
        base = _base()
        _sweep(base)
        path = f"{base}/{_PREFIX}{name}-{os.urandom(6).hex()}"
        unlocked = f"{base}/.{os.path.basename(path)}"  # by a name that no other runner sweeps
        os.mkdir(unlocked, 0o700)
        lock = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(unlocked, path)
        return cls(path, lock)

    def has_counts(self) -> bool:
        """Return whether a process of the program has begun to count. Raises OSError if the directory is gone."""
        return bool(os.listdir(self.path))

    def remove(self) -> None:
        """Remove the directory. Processes that still run go on, and what they count is lost."""
        _remove(self.path)
        os.close(self._lock)


def _base() -> str:
    """Return the directory for those of runs: `XDG_RUNTIME_DIR`, or the one for temporary files."""
    for variable in ("XDG_RUNTIME_DIR", "TMPDIR"):
        path = os.environ.get(variable, "")
        if os.path.isabs(path) and os.access(path, os.W_OK | os.X_OK):
            return path.rstrip("/")
    return "/tmp"  # noqa: S108 (the name is random, and mkdir fails if it exists)


def _sweep(base: str) -> None:
    """Remove the directories of this user's killed runners."""
    with contextlib.suppress(OSError):
        for name in os.listdir(base):  # it may have many files of others
            if name.startswith(_PREFIX):
                with contextlib.suppress(OSError):  # others may be removing it, or own it
                    _remove_if_left(f"{base}/{name}")


def _remove_if_left(path: str) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it fails while the runner lives
            _remove(path)
    finally:
        os.close(lock)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        for entry in os.listdir(path):
            with contextlib.suppress(OSError):
                os.unlink(f"{path}/{entry}")
        os.rmdir(path)
