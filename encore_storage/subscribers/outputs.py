"""Outputs of log lines that never block on a lock in a forked child, nor in a signal handler that interrupts a line.

structlog has a plain lock per file, and Python's buffered files have one inside. If another thread writes a line at a
fork, the child has copies of both that are never released. structlog's lock also blocks a signal handler or finalizer
that logs while its thread writes a line. In these cases lines are written to the file descriptor.
"""

from __future__ import annotations

import copy
import errno
import io
import os
import stat
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import IO, Any, TextIO

import structlog

from encore_events import forks
from encore_storage.subscribers.errors import StillFailingError

_OF_STRUCTLOG = (structlog.PrintLogger, structlog.WriteLogger, structlog.BytesLogger)
_WRITING = frozenset(kind.msg.__code__ for kind in _OF_STRUCTLOG)
_BUFFERED = (io.BufferedWriter, io.BufferedRandom)
_PLAIN_LOCK = type(threading.Lock())
_STDOUT = getattr(structlog._output, "stdout", None)  # noqa: SLF001 (PrintLogger looks up sys.stdout if its file is this)

_LAZY = type(structlog.wrap_logger(None))  # what `structlog.get_logger` returns


class FileOutput:
    """A structlog output that appends each line to a file at once, in one piece.

    An ordinary file needs no lock, since each line is one append by the system. If the disk has no room for a line, the
    line is lost and `check` raises.

    Args:
        path: the file; made if it doesn't exist.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        is_ordinary = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        self._lock: AbstractContextManager[object] = nullcontext() if is_ordinary else threading.RLock()
        self._process = forks.this_process()
        self._is_torn = False
        self._is_failing = False
        self._failure: tuple[int | None, str | None] | None = None

    def __repr__(self) -> str:
        return f"<FileOutput to {str(self.path)!r}>"

    def msg(self, message: str) -> None:
        """Write a line.

        Raises:
            OSError: it can't be written; a StillFailingError, if the line before couldn't either.
            ValueError: the output is closed.
        """
        line = b"\n" * self._is_torn + message.encode("utf-8", "backslashreplace") + b"\n"
        rest = memoryview(line)
        with self._lock if self._process is forks.this_process() else nullcontext():
            try:
                while rest:
                    rest = rest[_count_of(self._file.write(rest)) :]
            except OSError as error:
                self._is_torn = self._is_torn or len(rest) < len(line)
                self._failure = error.errno, error.strerror
                was_failing, self._is_failing = self._is_failing, True
                if was_failing:
                    raise StillFailingError(*self._failure, str(self.path)) from None
                error.filename = str(self.path)
                raise
            self._is_torn = self._is_failing = False

    debug = info = warning = error = critical = msg

    def isatty(self) -> bool:
        """Return whether the file is a terminal."""
        return self._file.isatty()

    def close(self) -> None:
        """Close the file. Does nothing the second time."""
        self._file.close()

    def check(self) -> None:
        """Raise OSError if a line could not be written."""
        if self._failure is not None:
            raise OSError(*self._failure, str(self.path))


class StreamOutput:
    """A structlog output that writes lines to an open text stream, which it doesn't close."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._process = forks.this_process()
        self._is_writing = False
        self._is_failing = False

    def __repr__(self) -> str:
        return f"<StreamOutput to {self._stream!r}>"

    def msg(self, message: str) -> None:
        """Write a line.

        Raises:
            OSError: it can't be written; a StillFailingError, if the line before couldn't either.
        """
        try:
            self._write(message)
        except OSError as error:
            was_failing, self._is_failing = self._is_failing, True
            if was_failing:
                raise StillFailingError(*error.args) from None
            raise
        self._is_failing = False

    debug = info = warning = error = critical = msg

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def _write(self, message: str) -> None:
        if self._process is not forks.this_process():
            _write_unlocked(self._stream, message)
            return
        with self._lock:
            if self._is_writing:  # a signal handler or finalizer has interrupted a line of this thread
                _write_unlocked(self._stream, message)
                return
            self._is_writing = True
            try:
                _write(self._stream, f"{message}\n")
            finally:
                self._is_writing = False


class _Unlocked:
    """A stand-in for one of structlog's outputs that acquires no lock."""

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
            _write_unlocked(file, message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def bound(logger: Any) -> Any:
    """Return the bound logger of a structlog logger, as configured by now, or an AsyncBoundLogger's synchronous one.

    An AsyncBoundLogger can only be made where an event loop runs, and its methods only log when they are awaited.
    """
    if type(logger) is _LAZY and "bind" not in vars(logger):  # else it is cached
        kind = logger._wrapper_class or structlog.get_config()["wrapper_class"]  # noqa: SLF001 (there is no other way)
        if isinstance(kind, type) and issubclass(kind, structlog.stdlib.AsyncBoundLogger):
            logger = copy.copy(logger)
            logger._wrapper_class = kind._bound_logger_factory  # noqa: SLF001 (it is what AsyncBoundLogger itself wraps)
    found = logger.bind()
    return found.sync_bl if isinstance(found, structlog.stdlib.AsyncBoundLogger) else found


def non_blocking(logger: Any) -> Any:
    """Return `logger`, or one that writes the same lines without locks if a line could block for ever.

    Args:
        logger: a bound logger. Outputs other than structlog's own are left alone.
    """
    output = getattr(logger, "_logger", None)
    if type(output) not in _OF_STRUCTLOG or not isinstance(logger, structlog.BoundLoggerBase):
        return logger
    if forks.this_process() is forks.first and not _blocks_for_ever(output._lock):  # type: ignore[union-attr]  # noqa: SLF001 (it is one of those)
        return logger
    return type(logger)(_Unlocked(output), logger._processors, logger._context)  # noqa: SLF001 (as its own `bind` does)


def _release_locks(output: Any) -> None:
    """Release structlog's locks in a forked child, except one that the forking thread holds and will release."""
    for lock in list(getattr(output, "WRITE_LOCKS", {}).values()):
        if isinstance(lock, _PLAIN_LOCK) and lock.locked() and not _is_held_here(lock):
            lock.release()


forks.renew_in_child(structlog._output, _release_locks)  # noqa: SLF001 (there is no other way)


def _blocks_for_ever(lock: object) -> bool:
    """Return whether the calling thread holds `lock`, or no thread does that could release it.

    The latter is the case in a forked child that is the first to import Encore, if a thread of its parent wrote a line.
    """
    if not isinstance(lock, _PLAIN_LOCK) or not lock.locked():
        return False
    caller = threading.get_ident()
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 (a plain lock has no owner, but its owner's frame has the lock)
        if _holds(frame, lock):
            return thread == caller
    return lock.locked()  # it may have been released meanwhile


def _is_held_here(lock: object) -> bool:
    """Return whether the calling thread is writing a line under `lock`."""
    return _holds(sys._getframe(), lock)  # noqa: SLF001 (as above)


def _holds(frame: FrameType | None, lock: object) -> bool:
    """Return whether a thread that is at `frame` is writing a line under `lock`."""
    while frame is not None:
        if frame.f_code in _WRITING and frame.f_locals["self"]._lock is lock:  # noqa: SLF001 (of structlog's own output)
            return True
        frame = frame.f_back
    return False


def _write_unlocked(file: IO[Any], message: str | bytes) -> None:
    """Write a line to the descriptor of `file`, or through `file` if it is not one of Python's buffered files."""
    line: Any = message + (b"\n" if isinstance(message, bytes) else "\n")  # type: ignore[operator]  # of the same kind
    data = _encoded(file, line)
    if data is None:
        _write(file, line)
        return
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]


def _encoded(file: IO[Any], line: str | bytes) -> bytes | None:
    """Return `line` as the buffered `file` would write it, or None if only the file knows."""
    if isinstance(line, bytes):
        return line if type(file) in _BUFFERED else None
    if type(file) is not io.TextIOWrapper or type(file.buffer) not in _BUFFERED:
        return None
    if "".encode(file.encoding):  # a byte order mark, which would begin each line
        return None
    return line.encode(file.encoding, file.errors or "strict")


def _write(file: IO[Any], line: str | bytes) -> None:
    file.write(line)
    file.flush()


def _count_of(written: int | None) -> int:
    """Return the result of a raw write; raise BlockingIOError if it would have blocked."""
    if written is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return written
