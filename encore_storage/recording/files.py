"""Files of complete lines, with rotation."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from encore_events import forks
from encore_events.errors import ForkedError
from encore_storage.codec import CodecError, EventCodec
from encore_storage.recording.errors import RecordingBusyError, RecordingFileError

MOST_BACKUPS = 999  # files with higher numbers don't belong to a recording
_MODE = 0o600  # keys and error messages are private
_FOREIGN = "contains something else than events: choose another file"
_BLOCK = 65536  # bytes to read first in search of the last line
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class LineFile:
    """A file that lines are appended to, rotated when it is full.

    Rotation renames the file to `path.1`, that to `path.2`, and so on. While the file is open, it is locked against
    other LineFiles, in this process and in others. A forked child can't use its parent's.

    Args:
        path: the file.
        max_bytes: the maximum size of a file. A longer line gets a file of its own.
        backups: the number of older files to keep. With 0 the file is replaced.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._fd: int | None = None
        self._opened: os.stat_result | None = None
        self._process = forks.this_process()
        self._size = 0
        self._is_torn = False
        forks.renew_in_child(self, LineFile._renew)

    @property
    def is_own(self) -> bool:
        """True if the calling process opened the file. False in a forked child."""
        return self._process is forks.this_process()

    def open(self) -> None:
        """Open the file to append to, or create it for its owner only. Raises RecordingFileError or OSError."""
        fd = os.open(self.path, _FLAGS, _MODE)
        try:
            _lock(fd, self.path)
            _check_contents(fd, self.path)
        except BaseException:
            os.close(fd)
            raise
        self._opened = os.fstat(fd)
        self._fd, self._size, self._is_torn = fd, self._opened.st_size, False
        self._process = forks.this_process()
        if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
            try:
                self._rotate()  # its writer was killed: an incomplete line must stay the last of its file
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Unlock and close the file. Does nothing the second time, and in a forked child."""
        if not self.is_own:
            return
        fd, self._fd = self._fd, None
        if fd is None:
            return
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough if a child, forked without hooks, has it open
        os.close(fd)

    def append(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """Append lines, which end with a newline, with one write per file.

        Returns:
            The number of lines appended, and the error that prevented the rest, if any.

        Raises:
            ForkedError: the file belongs to the parent of this forked child.
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
            return count, error
        return count, None

    def _make_ready(self) -> None:
        """Reopen the file if it was moved or closed, and remove an incomplete line."""
        if self._fd is not None and not _is_at(self.path, self._fd):
            self.close()
        if self._fd is None:
            self.open()
        if self._is_torn:
            os.ftruncate(self._open_fd, self._size)
            self._is_torn = False
        self._size = os.fstat(self._open_fd).st_size

    def _fitting(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Return the lines that fit into the file, at least one, after rotating it if it has no room for the first."""
        if self._size and self._size + len(lines[0]) > self._max_bytes:
            self._rotate()
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

    def _rotate(self) -> None:
        """Rename the file and its backups up to the first gap, and open a new file."""
        if self._backups:
            free = 1
            while free < self._backups and self._backup(free).exists():
                free += 1
            for number in range(free, 0, -1):
                self._backup(number - 1).replace(self._backup(number))
        else:
            self.path.unlink(missing_ok=True)
        self.close()
        self.open()

    def _check_own(self) -> None:
        if not self.is_own:
            raise ForkedError(f"the recording {str(self.path)!r}", self._process.pid, "record to another file")

    def _renew(self) -> None:
        """Close the descriptor in a forked child, without unlocking: the lock is the parent's."""
        fd, self._fd = self._fd, None
        if fd is None or self._opened is None:
            return
        with contextlib.suppress(OSError):  # the child closed it before the fork was detected
            if os.path.samestat(os.fstat(fd), self._opened):
                os.close(fd)

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    @property
    def _open_fd(self) -> int:
        if self._fd is None:  # a fork since _make_ready
            self._check_own()
            raise ValueError("the file is not open")  # pragma: no cover (there is no other reason)
        return self._fd


def _lock(fd: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise RecordingFileError(path, "can't be recorded to: it is not a file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RecordingBusyError(path) from None


def _check_contents(fd: int, path: Path) -> None:
    """Raise RecordingFileError if the first line or the last complete one is not an event.

    The lines between them are not read: the file may be large. A first line without a newline may be incomplete.
    """
    with open(fd, "rb", closefd=False) as file:
        if file.read(1) not in (b"", b"{"):
            raise RecordingFileError(path, _FOREIGN)
        file.seek(0)
        first = file.readline()
        is_complete = first.endswith(b"\n") or _is_json(first)
        lines = [first] * is_complete + _last_lines(file)
    codec = EventCodec()
    for line in lines:
        try:
            codec.decode(line)
        except CodecError as error:
            raise RecordingFileError(path, _FOREIGN) from error


def _last_lines(file: BinaryIO) -> list[bytes]:
    """Return the last complete line that is not blank, in a list, or an empty list."""
    size = file.seek(0, os.SEEK_END)
    length = _BLOCK
    while True:
        start = file.seek(max(size - length, 0))
        complete = file.read(size - start).split(b"\n")[:-1]
        lines = [line for line in complete[bool(start) :] if line.strip()]
        if lines or not start:
            return lines[-1:]
        length *= 2


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
