"""Files that are being written, apart from those that are whole."""

from __future__ import annotations

import contextlib
import os
import time
from types import TracebackType
from typing import Self

from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.keys import OWN
from encore_storage.stores.filesystem.locked_files import LockedFile
from encore_storage.stores.filesystem.ownership import OF_METADATA, OF_VALUES, Original, resemble
from encore_storage.stores.filesystem.system import is_locked, lock, warn
from encore_storage.stores.filesystem.tree import NO_LINK, Tree

SCRATCH = f"{OWN}/tmp"  # noqa: S108 (not the system's)


class ScratchFile:
    """A file that is being written in a block, and has no place yet. Behind the block it has one, or is gone.

    Its name is known before the file is made, so that it is removed wherever an interrupt comes.

    Args:
        tree: where its place will be.
        mode: the permissions to make it with.
    """

    _name = ""
    _made: os.stat_result | None = None
    _has_place = False

    def __init__(self, tree: Tree, mode: int) -> None:
        """Make the block."""
        self._tree = tree
        self._mode = mode
        self._directory = Descriptors()
        self._file = LockedFile()

    def __enter__(self) -> Self:
        """Make the file, and lock it."""
        self.__class__ = OpenScratchFile  # type: ignore[assignment] # mypy takes it for that of a subclass
        try:
            directory = self._tree.descend(SCRATCH, self._directory, create=True)
            with self._tree.naming(SCRATCH):
                self._create(directory)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file, and remove it if it has no place."""
        self.close()

    def close(self) -> None:
        """Close the file, and remove it if it has no place; doing so twice changes nothing."""
        if self._name and self._directory and not self._has_place and self._file.is_ours:
            self._remove()
        self._file.close()
        self._directory.close()
        self.__class__ = ScratchFile

    def found(self) -> os.stat_result:
        """Return what the system knows of it."""
        return os.fstat(self._file.fd)

    def resemble(self, original: Original, permissions: int) -> bool:
        """Take over owner, group, permissions and attributes; return whether all could be had."""
        made, self._made = self._made, None
        with self._tree.naming(self._path):
            return resemble(self._file.fd, self.found() if made is None else made, original, permissions)

    def write(self, chunk: bytes) -> None:
        """Write all of the chunk. Raises ForkedStoreError."""
        self._file.check_process(self._path)
        view = memoryview(chunk).cast("B")
        with self._tree.naming(self._path):
            while view:
                view = view[os.write(self._file.fd, view) :]

    def finish(self) -> os.stat_result:
        """Date it, and settle it; return what the system knows of it, which its move does not change."""
        now = time.time_ns()
        with self._tree.naming(self._path):
            # The system's own time is that of its last tick, which is the same for a value and the one that
            # replaces it at once, and their inodes may be the same too.
            os.utime(self._file.fd, ns=(now, now))
        self.settle()
        return self.found()

    def settle(self) -> None:
        """Have what was written outlive a loss of power, if that is wanted."""
        with self._tree.naming(self._path):
            self._tree.settle(self._file.fd)

    def move(self, tree: Tree, path: str) -> None:
        """Put it in its place, and what was there is gone; missing directories are made. Raises only if it isn't there.

        Args:
            tree: the tree that it was made in, or the same kept open.
            path: its place.

        Raises:
            ForkedStoreError: another process has begun to write it.
        """
        self._file.check_process(self._path)
        folder, _, name = path.rpartition("/")
        with tree.directory(folder, create=True) as parent, tree.naming(path):
            try:
                os.replace(self._name, name, src_dir_fd=self._directory[0], dst_dir_fd=parent)
            except OSError:
                if not self._is_at(name, parent):
                    raise
            self._has_place = True
            tree.settle_entry(parent, path)

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
            self._file.close()  # swept away before it was locked

    def _is_at(self, name: str, parent: int) -> bool:
        try:
            return os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), self.found())
        except OSError:
            return False

    def _remove(self) -> None:
        try:
            os.unlink(self._name, dir_fd=self._directory[0])
        except FileNotFoundError:
            return
        except OSError as error:
            path = self._tree.path_of(self._path)
            warn(
                "%r was not needed, and could not be removed (the next that opens the store tries it): %s", path, error
            )


class OpenScratchFile(ScratchFile):
    """A file whose block was not left; only such a one has a finalizer, in which an interrupt would be lost."""

    def __del__(self) -> None:
        """Close it, and remove it if it has no place."""
        self.close()


class Scratch:
    """The directory `.encore/tmp`. Each file in it is locked by who writes it, until it is moved to its place.

    Args:
        tree: the tree that it is in.
    """

    def __init__(self, tree: Tree) -> None:
        """Make it in a tree."""
        self._tree = tree
        self._has_warned = False

    def for_value(self, original: Original | None) -> ScratchFile:
        """Return a block with a new file for a value, to be given what the original has by `take_over`."""
        return ScratchFile(self._tree, 0o666 if original is None else original.found.st_mode & 0o777)

    def take_over(self, file: ScratchFile, path: str, original: Original) -> None:
        """Let a file resemble the one that it is to replace; what can't be had is only logged, once."""
        if file.resemble(original, OF_VALUES) or self._has_warned:
            return
        self._has_warned = True
        found = original.found
        warn(
            "%r is replaced by a file of another owner, group or access control list (it was %d:%d, mode %o): to keep "
            "them takes more rights than this process has; this is logged once for each store",
            self._tree.path_of(path),
            found.st_uid,
            found.st_gid,
            found.st_mode & 0o7777,
        )

    def write(self, path: str, text: bytes, original: Original) -> None:
        """Replace a file of the store's own by one that is no more readable than the original."""
        with ScratchFile(self._tree, original.found.st_mode & OF_METADATA) as file:
            file.resemble(original.for_metadata(), OF_METADATA)
            file.write(text)
            file.settle()
            file.move(self._tree, path)

    def sweep(self) -> None:
        """Remove what killed processes have left. What can't be removed stays, and does no harm."""
        with contextlib.suppress(OSError), self._tree.directory(SCRATCH) as directory:
            for name in os.listdir(directory):  # noqa: PTH208 (a descriptor)
                with contextlib.suppress(OSError):
                    _remove_unless_locked(name, directory)


def _remove_unless_locked(name: str, directory: int) -> None:
    with Descriptors() as file:
        if not is_locked(file.open(name, os.O_RDWR | NO_LINK, parent=directory)):
            os.unlink(name, dir_fd=directory)
