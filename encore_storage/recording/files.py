"""A file of lines that is never left with half of one, and makes room by moving aside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from encore_events import forks
from encore_events.errors import ForkedError
from encore_storage.recording.errors import RecordingBusyError, RecordingFileError

MOST_BACKUPS = 999
"""How many files can have been moved aside; what has a greater number is no part of a recording."""

_MODE = 0o600  # keys and the words of errors are for those who run the program
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Appended(NamedTuple):
    """How many of the lines have been appended, and what kept the others from it."""

    lines: int
    error: OSError | None


class LineFile:
    """A file that lines are appended to, and which is moved aside when it is full.

    It becomes `path.1` then, what was that becomes `path.2`, and so on. While it is open, no other LineFile can have
    it, in this process or another one. A forked child leaves it to its parent.

    Args:
        path: where.
        max_bytes: how long a file may become; a line that is longer has a file of its own.
        backups: how many older files are kept. With 0 it is begun anew.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int) -> None:
        """Make one that is not open."""
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._fd: int | None = None
        self._opened: os.stat_result | None = None
        self._process = forks.this_process()
        self._size = 0
        self._is_torn = False
        forks.renew_in_child(self, LineFile._leave)

    @property
    def is_own(self) -> bool:
        """Whether it is this process that has opened it, and not the one that this is a fork of."""
        return self._process is forks.this_process()

    def open(self) -> None:
        """Open it to append, or make it; only the user can read it.

        Raises:
            RecordingBusyError: somebody else has it open.
            RecordingFileError: it isn't a file, or one of something else.
            OSError: it can't be opened.
        """
        fd = os.open(self.path, _FLAGS, _MODE)
        try:
            _claim(fd, self.path)
        except BaseException:
            os.close(fd)
            raise
        self._opened = os.fstat(fd)
        self._fd, self._size, self._is_torn = fd, self._opened.st_size, False
        self._process = forks.this_process()
        if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
            try:
                self._make_room()  # whoever wrote it was killed: half a line is the end of a file, never its middle
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let go of it; doing so twice does nothing, and nor does it in a forked child."""
        if not self.is_own:
            return
        fd, self._fd = self._fd, None
        if fd is None:
            return
        fcntl.flock(fd, fcntl.LOCK_UN)  # at once, though a child that no hook has seen may have it open, too
        os.close(fd)

    def append(self, lines: Sequence[bytes]) -> Appended:
        """Append lines, which end with a newline, by one write for each file that they go to.

        Raises:
            ForkedError: this is a forked child, and the file its parent's.
        """
        self._check_own()
        count = 0
        try:
            self._make_ready()
            while count < len(lines):
                fitting = self._fitting(lines[count:])
                self._write(b"".join(fitting))
                count += len(fitting)
        except OSError as error:
            return Appended(count, error)
        return Appended(count, None)

    def _make_ready(self) -> None:
        """Have it open, at its place and without half a line, whatever has happened since."""
        if self._fd is not None and not _is_at(self.path, self._fd):
            self.close()
        if self._fd is None:
            self.open()
        if self._is_torn:
            os.ftruncate(self._open_fd, self._size)
            self._is_torn = False
        self._size = os.fstat(self._open_fd).st_size

    def _fitting(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """The lines that fit into the file, one at least: into the next file, where there is no room left in this."""
        if self._size and self._size + len(lines[0]) > self._max_bytes:
            self._make_room()
        size = self._size
        for count, line in enumerate(lines):
            size += len(line)
            if size > self._max_bytes and count:
                return lines[:count]
        return lines

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._open_fd, rest) :]
        except OSError:
            self._is_torn = True
            os.ftruncate(self._open_fd, self._size)
            self._is_torn = False
            raise
        self._size += len(data)

    def _make_room(self) -> None:
        """Move the file aside, and those before it as far as there is no gap, and begin the next one."""
        if self._backups:
            free = 1
            while free < self._backups and self._aside(free).exists():
                free += 1
            for number in range(free, 0, -1):
                self._aside(number - 1).replace(self._aside(number))
        else:
            self.path.unlink(missing_ok=True)
        self.close()
        self.open()

    def _check_own(self) -> None:
        if not self.is_own:
            raise ForkedError(f"the recording {str(self.path)!r}", self._process.pid, "record to another file")

    def _leave(self) -> None:
        """Close the child's descriptor of what the parent has open; its lock is the parent's, and is not unlocked."""
        fd, self._fd = self._fd, None
        if fd is None or self._opened is None:
            return
        with contextlib.suppress(OSError):  # the child has closed it before it noticed that it was forked
            if os.path.samestat(os.fstat(fd), self._opened):
                os.close(fd)

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    @property
    def _open_fd(self) -> int:
        if self._fd is None:  # between _make_ready and the end of append, because of a fork
            self._check_own()
            raise ValueError("it is not open")  # pragma: no cover (there is no other reason)
        return self._fd


def _claim(fd: int, path: Path) -> None:
    """Have the open file for oneself, if it is one that may be appended to."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise RecordingFileError(path, "is not a file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RecordingBusyError(path) from None
    if status.st_size and os.pread(fd, 1, 0) != b"{":
        raise RecordingFileError(path, "has something else in it than events: choose another file")


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
