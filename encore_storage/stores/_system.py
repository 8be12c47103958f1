"""What the operating system is asked for: errors that name the whole path, and locks of files."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from encore_storage.errors import StoreFullError, error_type_of

_NOT_TO_BE_OPENED = (errno.ELOOP, errno.ENXIO)
"""How systems refuse to open a symbolic link, and a socket."""


@contextlib.contextmanager
def telling(path: str) -> Iterator[None]:
    """A block of system calls whose errors name the whole path; of no room, they are a StoreFullError."""
    try:
        yield
    except OSError as error:
        code = errno.ENOTDIR if error.errno in _NOT_TO_BE_OPENED else error.errno
        if error_type_of(error) == "quota_exceeded":
            raise StoreFullError(f"there is no room for {path!r}: {error.strerror}") from error
        raise OSError(code, error.strerror, path) from error


def lock(fd: int) -> None:
    """Wait until no other process has the lock of an open file, and take it."""
    import fcntl  # noqa: PLC0415 (there is none on Windows, where the other stores work)

    fcntl.flock(fd, fcntl.LOCK_EX)


def is_locked(fd: int) -> bool:
    """Whether another process has the lock of an open file; if not, take it."""
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
