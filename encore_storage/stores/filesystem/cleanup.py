"""Cleanup after a change took effect, and after processes that were killed during a change."""

from __future__ import annotations

from encore_storage.errors import StoreError
from encore_storage.stores.filesystem.directory_lock import DirectoryLock
from encore_storage.stores.filesystem.metadata_files import MetadataFiles
from encore_storage.stores.filesystem.system import warn


class Cleanup:
    """A block of steps after a change, which must not raise: errors of the system are logged, with what `remains`."""

    # Not a generator: an interrupt in one can leave its error behind as the `__context__` of later ones.
    __slots__ = ("_path", "_remains")

    def __init__(self, path: str, remains: str) -> None:
        self._path = path
        self._remains = remains

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if not isinstance(error, OSError | StoreError):
            return False
        warn("%r was changed, but %s: %s", self._path, self._remains, error)
        return True


def resolve_interrupted(lock: DirectoryLock, metadata: MetadataFiles, root: str) -> None:
    """Resolve the metadata changes during which a process was killed.

    Wait for a living writer only if it is changing metadata itself, or there is such a change. Failures are logged, as
    in a directory that is not writable: readers understand unresolved changes too.
    """
    try:
        if not (lock.open_if_exists() and lock.marked()):
            return
        lock.wait()
        for name in lock.marked():
            metadata.resolve(name)
            lock.unmark(name)
    except (OSError, StoreError) as error:
        warn("changes that a killed process left unfinished in %r could not be resolved: %s", root, error)
    finally:
        lock.release()
