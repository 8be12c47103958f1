"""The steps behind the one that makes a change true, and those that killed processes have left to do."""

from __future__ import annotations

from types import TracebackType

from encore_storage.errors import StoreError
from encore_storage.stores.filesystem.directory_lock import DirectoryLock
from encore_storage.stores.filesystem.metadata_files import MetadataFiles
from encore_storage.stores.filesystem.system import warn


class Tidying:
    """A block of steps that must not raise, since the change that they belong to is made; what fails is logged.

    Args:
        path: the file that was changed.
        left: what is left if the steps fail, and what becomes of it.
    """

    __slots__ = ("_left", "_path")

    def __init__(self, path: str, left: str) -> None:
        """Make the block."""
        self._path = path
        self._left = left

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Log an error of the system; an interrupt goes on."""
        if not isinstance(error, OSError | StoreError):
            return False
        warn("the change of %r is made, but %s: %s", self._path, self._left, error)
        return True


def settle_left(lock: DirectoryLock, metadata: MetadataFiles, root: str) -> None:
    """Decide which metadata holds where a killed process was in the middle of a change.

    Waits for a writer that is alive only if there is such a change, or it is in the middle of one itself. What can't be
    settled, as in a directory that can only be read, is understood by readers all the same.

    Args:
        lock: the lock of the directory, not acquired.
        metadata: its metadata.
        root: the directory, to name it.
    """
    try:
        if not (lock.open_if_made() and lock.marked()):
            return
        lock.wait()
        for name in lock.marked():
            metadata.settle(name)
            lock.unmark(name)
    except (OSError, StoreError) as error:
        warn("what a killed process has left under way in %r could not be settled: %s", root, error)
    finally:
        lock.release()
