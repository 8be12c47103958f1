"""Temporary files, in which values and metadata are written before they are moved to their place."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Self

from encore_events.once import Once
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.keys import OWN
from encore_storage.stores.filesystem.locked_files import LockedFile
from encore_storage.stores.filesystem.ownership import OF_METADATA, OF_VALUES, Original, copy_access
from encore_storage.stores.filesystem.system import lock, try_lock, warn
from encore_storage.stores.filesystem.tree import NO_LINK, Tree

SCRATCH = f"{OWN}/tmp"  # noqa: S108 (not the system's)


class ScratchFile:
    """A file that is written in a block, and removed after it unless it was moved to its place.

    Its name is known before the file is created, so that it is removed wherever an interrupt arrives.
    """

    _name = ""
    _made: os.stat_result | None = None
    _is_moved = False

    def __init__(self, tree: Tree, mode: int) -> None:
        self._tree = tree
        self._mode = mode
        self._directory = Descriptors()
        self._file = LockedFile()

    def __enter__(self) -> Self:
        self.__class__ = OpenScratchFile  # type: ignore[assignment] # mypy takes it for that of a subclass
        try:
            directory = self._tree.descend(SCRATCH, self._directory, create=True)
            with self._tree.path_errors(SCRATCH):
                self._create(directory)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and remove it unless it was moved. A second call does nothing."""
        if self._name and self._directory and not self._is_moved and self._file.is_ours:
            self._remove()
        self._file.close()
        self._directory.close()
        self.__class__ = ScratchFile

    def found(self) -> os.stat_result:
        """Return the status of the file."""
        return os.fstat(self._file.fd)

    def copy_access(self, original: Original, permissions: int) -> bool:
        """Copy owner, group, permissions and attributes; return whether all could be copied."""
        made, self._made = self._made, None
        with self._tree.path_errors(self._path):
            return copy_access(self._file.fd, self.found() if made is None else made, original, permissions)

    def write(self, chunk: bytes) -> None:
        """Write the whole chunk. Raises ForkedStoreError."""
        self._file.check_process(self._path)
        view = memoryview(chunk).cast("B")
        with self._tree.path_errors(self._path):
            while view:
                view = view[os.write(self._file.fd, view) :]

    def finish(self) -> os.stat_result:
        """Set the file's time and sync it; return its status, which a move does not change."""
        now = time.time_ns()
        with self._tree.path_errors(self._path):
            # The system would set the time of its last tick. A value and its immediate replacement may share that, and
            # the inode too.
            os.utime(self._file.fd, ns=(now, now))
        self.sync()
        return self.found()

    def sync(self) -> None:
        """Sync the file if writes are durable."""
        with self._tree.path_errors(self._path):
            self._tree.sync(self._file.fd)

    def move(self, tree: Tree, path: str) -> None:
        """Move the file to its place, replacing what is there. Missing directories are created.

        Args:
            tree: the tree in which it was created, or an open tree of the same directory.
            path: its place.

        Raises:
            ForkedStoreError: another process has begun to write it.
            OSError: the file is not in its place.
        """
        self._file.check_process(self._path)
        folder, _, name = path.rpartition("/")
        with tree.directory(folder, create=True) as parent, tree.path_errors(path):
            try:
                os.replace(self._name, name, src_dir_fd=self._directory[-1], dst_dir_fd=parent)
            except OSError:
                if not self._is_at(name, parent):
                    raise
            self._is_moved = True
            tree.sync_entry(parent, path)

    @property
    def _path(self) -> str:
        return f"{SCRATCH}/{self._name}"

    def _create(self, directory: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK
        while True:
            self._name = os.urandom(8).hex()
            self._file.open(self._name, flags, self._mode, parent=directory)
            lock(self._file.fd)
            self._made = found = self.found()
            if found.st_nlink:
                return
            self._file.close()  # another store has swept it before it was locked

    def _is_at(self, name: str, parent: int) -> bool:
        try:
            return os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), self.found())
        except OSError:
            return False

    def _remove(self) -> None:
        try:
            os.unlink(self._name, dir_fd=self._directory[-1])
        except FileNotFoundError:
            return
        except OSError as error:
            path = self._tree.path_of(self._path)
            warn("the temporary file %r could not be removed; it will be when the store is opened: %s", path, error)


class OpenScratchFile(ScratchFile):
    """A file in a block that was not left. Only these have a finalizer, since an interrupt in a finalizer is lost."""

    def __del__(self) -> None:
        self.close()


class Scratch:
    """The directory `.encore/tmp`. Its files are locked by their writers until they are moved."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._warning = Once()

    def for_value(self, original: Original | None, tree: Tree) -> ScratchFile:
        """Return a block with a new file for a value; `copy_access` gives it the rights of the original."""
        return ScratchFile(tree, 0o666 if original is None else original.found.st_mode & 0o777)

    def copy_access(self, file: ScratchFile, path: str, original: Original) -> None:
        """Copy the access rights of the file that `file` will replace. Log once if they cannot be copied in full."""
        if file.copy_access(original, OF_VALUES) or not self._warning.take():
            return
        found = original.found
        warn(
            "%r is replaced by a file of another owner, group or access control list (it was %d:%d, mode %o), since "
            "this process lacks the rights to keep them; this is logged once for each store",
            self._tree.path_of(path),
            found.st_uid,
            found.st_gid,
            found.st_mode & 0o7777,
        )

    def write(self, path: str, text: bytes, original: Original) -> None:
        """Replace a file of the store's own by one that is no more readable than the original."""
        with ScratchFile(self._tree, original.found.st_mode & OF_METADATA) as file:
            file.copy_access(original.for_metadata(), OF_METADATA)
            file.write(text)
            file.sync()
            file.move(self._tree, path)

    def sweep(self) -> None:
        """Remove the files that killed processes have left. Files that cannot be removed are harmless."""
        with contextlib.suppress(OSError), self._tree.directory(SCRATCH) as directory:
            for name in os.listdir(directory):  # noqa: PTH208 (a descriptor)
                with contextlib.suppress(OSError):
                    _remove_unless_locked(name, directory)


def _remove_unless_locked(name: str, directory: int) -> None:
    with Descriptors() as file:
        if try_lock(file.open(name, os.O_RDWR | NO_LINK, parent=directory)):
            os.unlink(name, dir_fd=directory)
