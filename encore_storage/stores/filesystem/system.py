"""System calls: errors with full paths, file locks, and warnings about failed cleanup."""

from __future__ import annotations

import contextlib
import errno

from encore_events.loggers import get_logger
from encore_storage.errors import StoreError, StoreFullError

logger = get_logger("encore_storage")

_CANNOT_OPEN = (errno.ELOOP, errno.ENXIO)  # errors of opening a symbolic link or a socket
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PathErrors:
    """A block of system calls: errors name the full path below `root`, and a lack of space raises StoreFullError."""

    __slots__ = ("_path", "_root")

    def __init__(self, root: str, path: str) -> None:
        self._root = root
        self._path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, StoreError):
            raise path_error(error, self._root, self._path) from error


def path_error(error: OSError, root: str, path: str) -> OSError:
    """Return an error of a system call with the full path below `root`; StoreFullError if there is no space."""
    path = join(root, path)
    code = errno.ENOTDIR if error.errno in _CANNOT_OPEN else error.errno
    if error.errno in _NO_SPACE:
        return StoreFullError(f"no space left for {path!r} ({error.strerror}): free some space")
    return OSError(code, error.strerror, path)


def join(root: str, path: str) -> str:
    """Return the full path of `path` below the directory `root`."""
    return f"{root.rstrip('/')}/{path}" if path else root  # names need not be UTF-8


def warn(message: str, *arguments: object) -> None:
    """Log a failed cleanup. It never raises, since the change itself has taken effect."""
    with contextlib.suppress(Exception):  # a logging handler of the program may fail
        logger.warning(message, *arguments)


def lock(fd: int) -> None:
    """Acquire the lock of an open file, waiting for other processes."""
    import fcntl  # noqa: PLC0415 (missing on Windows, where the other stores work)

    fcntl.flock(fd, fcntl.LOCK_EX)


def try_lock(fd: int) -> bool:
    """Acquire the lock of an open file; return False if another process has it."""
    import fcntl  # noqa: PLC0415 (as above)

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Release the lock of an open file."""
    import fcntl  # noqa: PLC0415 (as above)

    fcntl.flock(fd, fcntl.LOCK_UN)
