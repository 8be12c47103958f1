"""Outputs of log lines at which nobody hangs: no forked child, and no signal handler in the middle of a line.

structlog takes a plain lock for each file, and a buffered file of Python has another one inside. A child whose parent
had a thread write a line at the fork has copies of both that nobody will ever release. The former also stops whoever
logs within a line, as a signal handler or a finalizer may. Where that could happen, lines go to the file's descriptor.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import IO, Any, TextIO

import structlog

from encore_events import forks

_OF_STRUCTLOG = (structlog.PrintLogger, structlog.WriteLogger, structlog.BytesLogger)
_WRITING = frozenset(kind.msg.__code__ for kind in _OF_STRUCTLOG)
_BUFFERED = (io.BufferedWriter, io.BufferedRandom)
_PLAIN_LOCK = type(threading.Lock())
_STDOUT = getattr(structlog._output, "stdout", None)  # noqa: SLF001 (what PrintLogger takes for: as sys.stdout is by then)

_home = forks.current
"""The process whose threads hold the locks; in any other one, they are copies."""


class FileOutput:
    """Adds lines to a file, each whole and at once; for structlog to wrap.

    An ordinary file needs no lock, since each line is one write, which the system appends. A line that the disk has no
    room for is missing, and `check` says so.

    Args:
        path: where; the file is made if it isn't there.

    Raises:
        OSError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self.path = path
        self._file = path.open("ab", buffering=0)
        is_ordinary = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        self._turn: AbstractContextManager[object] = nullcontext() if is_ordinary else threading.RLock()
        self._process = forks.this_process()
        self._is_torn = False
        self._missing: tuple[int | None, str | None] | None = None

    def __repr__(self) -> str:
        """Where the lines go."""
        return f"<FileOutput to {str(self.path)!r}>"

    def msg(self, message: str) -> None:
        """Write a line.

        Raises:
            OSError: it can't be written.
            ValueError: the output is closed.
        """
        line = b"\n" * self._is_torn + message.encode("utf-8", "backslashreplace") + b"\n"
        rest = memoryview(line)
        with self._turn if self._process is forks.this_process() else nullcontext():
            try:
                while rest:
                    rest = rest[_count_of(self._file.write(rest)) :]
            except OSError as error:
                self._is_torn = self._is_torn or len(rest) < len(line)
                self._missing = error.errno, error.strerror
                raise
            self._is_torn = False

    debug = info = warning = error = critical = msg

    def isatty(self) -> bool:
        """Return whether the lines go to a terminal."""
        return self._file.isatty()

    def close(self) -> None:
        """Close the file; doing so twice does nothing."""
        self._file.close()

    def check(self) -> None:
        """Do nothing if the file has got every line.

        Raises:
            OSError: one could not be written.
        """
        if self._missing is not None:
            raise OSError(*self._missing, str(self.path))


class StreamOutput:
    """Writes lines to a stream that somebody else has opened; for structlog to wrap.

    Args:
        stream: any file of text.
    """

    def __init__(self, stream: TextIO) -> None:
        """Make the output; the stream stays open."""
        self._stream = stream
        self._turn = threading.RLock()
        self._process = forks.this_process()
        self._is_writing = False

    def __repr__(self) -> str:
        """Where the lines go."""
        return f"<StreamOutput to {self._stream!r}>"

    def msg(self, message: str) -> None:
        """Write a line."""
        if self._process is not forks.this_process():
            _write_past_locks(self._stream, message)
            return
        with self._turn:
            if self._is_writing:  # this is a signal handler, or a finalizer, within the line of the same thread
                _write_past_locks(self._stream, message)
                return
            self._is_writing = True
            try:
                _write(self._stream, f"{message}\n")
            finally:
                self._is_writing = False

    debug = info = warning = error = critical = msg

    def isatty(self) -> bool:
        """Return whether the lines go to a terminal."""
        return self._stream.isatty()


class _PastLocks:
    """Stands in for an output of structlog's own, and takes no lock."""

    def __init__(self, output: Any) -> None:
        self._output = output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)

    def msg(self, message: str | bytes) -> None:
        output = self._output
        file = output._file  # noqa: SLF001 (there is no other way)
        if isinstance(output, structlog.PrintLogger) and file is _STDOUT:
            file = sys.stdout
        if file is not None:
            _write_past_locks(file, message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def never_waiting(logger: Any) -> Any:
    """Return the logger, or where a line could wait for ever, one that writes the same line past all locks.

    Args:
        logger: a bound logger of structlog. Any output but structlog's own looks after itself.
    """
    output = getattr(logger, "_logger", None)
    if type(output) not in _OF_STRUCTLOG or not isinstance(logger, structlog.BoundLoggerBase):
        return logger
    if forks.this_process() is _home and not _is_held_here(output._lock):  # type: ignore[union-attr]  # noqa: SLF001 (it is one of those)
        return logger
    return type(logger)(_PastLocks(output), logger._processors, logger._context)  # noqa: SLF001 (as its own `bind` does)


class _LocksOfFiles:
    """The locks that structlog keeps, one for each file, which outlive in a child those who hold them."""

    def __init__(self) -> None:
        self._locks: Mapping[IO[Any], Any] = getattr(structlog._output, "WRITE_LOCKS", {})  # noqa: SLF001 (there is no other way)
        forks.renew_in_child(self, _LocksOfFiles.release)

    def release(self) -> None:
        """Release them all in a forked child, but the one that the forking thread holds, which it will release."""
        for lock in list(self._locks.values()):
            if isinstance(lock, _PLAIN_LOCK) and lock.locked() and not _is_held_here(lock):
                lock.release()


_locks_of_files = _LocksOfFiles()


def _is_held_here(lock: object) -> bool:
    """Return whether the calling thread is writing a line under this lock."""
    if not isinstance(lock, _PLAIN_LOCK) or not lock.locked():
        return False
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 (a plain lock doesn't tell who holds it)
    while frame is not None:
        if frame.f_code in _WRITING and frame.f_locals["self"]._lock is lock:  # noqa: SLF001 (of structlog's own output)
            return True
        frame = frame.f_back
    return False


def _write_past_locks(file: IO[Any], message: str | bytes) -> None:
    """Write a line to the descriptor of `file`, or to the file itself where it isn't one of Python's own."""
    line: Any = message + (b"\n" if isinstance(message, bytes) else "\n")  # type: ignore[operator]  # of the same kind
    data = _encoded(file, line)
    if data is None:
        _write(file, line)
        return
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]


def _encoded(file: IO[Any], line: str | bytes) -> bytes | None:
    """Return the line as the buffered `file` would write it, or None where only the file knows."""
    if isinstance(line, bytes):
        return line if type(file) in _BUFFERED else None
    if type(file) is not io.TextIOWrapper or type(file.buffer) not in _BUFFERED:
        return None
    encoding = file.encoding
    return None if "".encode(encoding) else line.encode(encoding, file.errors or "strict")  # else each has a mark


def _write(file: IO[Any], line: str | bytes) -> None:
    file.write(line)
    file.flush()


def _count_of(written: int | None) -> int:
    """Return how many bytes were written, of a write that waits for no place."""
    if written is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return written
