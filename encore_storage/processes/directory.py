"""The directory of a group: locked by its members, and removed with the last of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Self

from encore_events.copying import CopyableError
from encore_storage.processes.descriptors import OwnDescriptor
from encore_storage.processes.parent import record_parents, running_parents

MEMBERS = "members"
"""The file on which each member holds a shared lock. Who locks it exclusively is alone, and may remove all files."""

LAYOUT = 1
"""The version of what is in the directories of groups. Encore leaves those of another version alone."""

_PATIENCE = 2.0  # seconds to wait for a process that starts or ends the group
_PAUSE = 0.005
_LONGEST_PATH = 72  # characters, since the path of a socket in the directory of a group has at most 103


class UntrustedDirectoryError(CopyableError, OSError):
    """A directory for groups that is not the user's own, so that another user could read or forge what is in it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the directory {str(path)!r} {reason}: remove it, or set XDG_RUNTIME_DIR or TMPDIR")
        self.path = path


class GroupDirectory:
    """The directory that the processes of a group share, as long as this process is a member.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path, members: OwnDescriptor) -> None:
        self.path = path
        self._members = members

    def __repr__(self) -> str:
        return f"<GroupDirectory {str(self.path)!r}>"

    @classmethod
    def join(cls, base: Path, key: str) -> Self:
        """Make or enter the directory `key` below `base`. The first member removes the files of an earlier run.

        An earlier run has ended if its members have, and the processes that may start others.

        Raises:
            UntrustedDirectoryError: as in `runtime_directory`.
            OSError: the directory cannot be made or locked.
        """
        path, until = base / key, time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
            with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as undo:  # the last member removes it
                _check_private(path)
                members = OwnDescriptor.open(path / MEMBERS, os.O_RDWR | os.O_CREAT)
                undo.callback(members.close)
                if _join(path, members):
                    with contextlib.suppress(OSError):  # the disk is full: the last member removes the counts
                        record_parents(path)
                    undo.pop_all()
                    return cls(path, members)
            time.sleep(_PAUSE)
        raise TimeoutError(f"the directory {str(path)!r} stays locked by another process")

    def leave(self) -> None:
        """Leave the group. The last member removes the directory, unless another process may still start members."""
        self.leave_if_last()
        self._members.close()

    def leave_if_last(self) -> bool:
        """Leave the group as `leave` does, but remain a member if there are others. Return whether it has left."""
        if not self._members.is_open:
            return True
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._members.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._members.is_at(self.path / MEMBERS) and not running_parents(self.path) - {os.getpid()}:
                _remove(self.path)
            self._members.close()
            return True
        return not _relock(self.path, self._members)


def runtime_directory() -> Path:
    """Return the user's directory of all groups, made if need be, which nobody else can enter.

    It is `encore-<layout>` in `XDG_RUNTIME_DIR`, or `encore-<user id>-<layout>` in the temporary directory.

    Raises:
        UntrustedDirectoryError: it is a link or no directory, it belongs to another user, or others can enter it.
        OSError: it cannot be made.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    temporary = f"encore-{os.geteuid()}-{LAYOUT}"
    choices = (Path(given) / f"encore-{LAYOUT}" if _is_own(given) else None, Path(tempfile.gettempdir()) / temporary)
    short = [path for path in choices if path is not None and len(str(path)) <= _LONGEST_PATH]
    path = short[0] if short else Path("/tmp") / temporary  # noqa: S108 (checked below)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    _check_private(path)
    return path


def sweep(base: Path) -> None:
    """Remove the directories of ended groups: they have no members, and no process still runs that may start any."""
    with contextlib.suppress(OSError):
        for path in list(base.iterdir()):
            _sweep(path)


def _check_private(path: Path) -> None:
    """Check that the path is a directory which only the user can enter. Raises OSError."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise UntrustedDirectoryError(path, "is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        raise UntrustedDirectoryError(path, "is no directory")
    if found.st_uid != os.geteuid():
        raise UntrustedDirectoryError(path, "belongs to another user")
    if found.st_mode & 0o077:
        raise UntrustedDirectoryError(path, "can be entered by other users")


def _is_own(directory: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(directory) and Path(directory).stat().st_uid == os.geteuid()
    return False


def _join(path: Path, members: OwnDescriptor) -> bool:
    """Lock `members` as a member, and return whether it is still the file of the group."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(members.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if members.is_at(path / MEMBERS) and not running_parents(path):
            _remove_files(path)
    return _lock_shared(path, members)


def _relock(path: Path, members: OwnDescriptor) -> bool:
    """Lock `members` as a member again: the attempt to lock it exclusively has released the lock."""
    until = time.monotonic() + _PATIENCE
    while members.is_at(path / MEMBERS) and time.monotonic() < until:
        if _lock_shared(path, members):
            return True
        time.sleep(_PAUSE)
    members.close()
    return False


def _lock_shared(path: Path, members: OwnDescriptor) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(members.number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return members.is_at(path / MEMBERS)
    return False


def _sweep(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()  # made by a process that was killed before it could lock it
        return
    with contextlib.suppress(OSError):
        members = OwnDescriptor.open(path / MEMBERS, os.O_RDWR)
        with contextlib.closing(members):
            fcntl.flock(members.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if members.is_at(path / MEMBERS) and not running_parents(path):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove the directory, `MEMBERS` last: a process that joins meanwhile waits for its lock."""
    _remove_files(path)
    with contextlib.suppress(OSError):
        (path / MEMBERS).unlink()
        path.rmdir()


def _remove_files(path: Path) -> None:
    for each in list(path.iterdir()):
        if each.name != MEMBERS:
            with contextlib.suppress(OSError):
                each.unlink()
