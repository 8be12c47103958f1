"""System calls: errors that name the whole path, locks of files, and warnings of what could not be tidied up."""

from __future__ import annotations

import contextlib
import errno
import logging
from types import TracebackType

from encore_storage.errors import StoreError, StoreFullError

logger = logging.getLogger("encore_storage")

_NOT_TO_BE_OPENED = (errno.ELOOP, errno.ENXIO)
"""How systems refuse to open a symbolic link, and a socket."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Naming:
    """A block of system calls whose errors name the whole path; of no room, they are a StoreFullError.

    Args:
        root: the directory that the path is relative to.
        path: the path.
    """

    __slots__ = ("_path", "_root")

    def __init__(self, root: str, path: str) -> None:
        """Make the block."""
        self._root = root
        self._path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise an error that names the path in place of one that does not."""
        if error is None:
            return
        if not isinstance(error, OSError) or isinstance(error, StoreError):
            return
        path = join(self._root, self._path)
        code = errno.ENOTDIR if error.errno in _NOT_TO_BE_OPENED else error.errno
        if error.errno in _NO_ROOM:
            raise StoreFullError(f"there is no room for {path!r}: {error.strerror}") from error
        raise OSError(code, error.strerror, path) from error


def join(root: str, path: str) -> str:
    """Return the whole path of what is at `path` below the directory `root`."""
    return f"{root.rstrip('/')}/{path}" if path else root  # names need not be UTF-8


def warn(message: str, *arguments: object) -> None:
    """Log what could not be tidied up. The call that did so has taken effect, so that it must not raise."""
    with contextlib.suppress(Exception):  # a handler of the program's own
        logger.warning(message, *arguments)


def lock(fd: int) -> None:
    """Wait until no other process has the lock of an open file, and take it."""
    import fcntl  # noqa: PLC0415 (there is none on Windows, where the other stores work)

    fcntl.flock(fd, fcntl.LOCK_EX)


def is_locked(fd: int) -> bool:
    """Return whether somebody else has the lock of an open file; if not, take it."""
    import fcntl  # noqa: PLC0415 (as above)

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def unlock(fd: int) -> None:
    """Give the lock of an open file back."""
    import fcntl  # noqa: PLC0415 (as above)

    fcntl.flock(fd, fcntl.LOCK_UN)
