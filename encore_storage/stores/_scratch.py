"""Files that are being written, apart from those that are whole."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from encore_storage.stores._keys import OWN
from encore_storage.stores._system import is_locked, lock, telling
from encore_storage.stores._tree import Token, Tree

SCRATCH = f"{OWN}/tmp"  # noqa: S108 (not the system's)


class ScratchFile:
    """A file that is being written, and has no place yet.

    Args:
        tree: where its place will be.
        directory: the descriptor of the directory that it is in for now.
        name: its name there.
        fd: its own descriptor.
    """

    def __init__(self, tree: Tree, directory: int, name: str, fd: int) -> None:
        """Make it of an open file."""
        self._tree = tree
        self._directory = directory
        self._name = name
        self._fd = fd
        self._path = tree.path_of(f"{SCRATCH}/{name}")

    def write(self, chunk: bytes) -> None:
        """Write all of the chunk."""
        view = memoryview(chunk).cast("B")
        with telling(self._path):
            while view:
                view = view[os.write(self._fd, view) :]

    def finish(self) -> Token:
        """Have what was written outlive a loss of power, if that is wanted; give its token, which its move keeps."""
        now = time.time_ns()
        with telling(self._path):
            # The system's own time is that of its last tick, which is the same for a value and the one that
            # replaces it at once, and their inodes may be the same too.
            os.utime(self._fd, ns=(now, now))
            self._tree.settle(self._fd)
            return Token.of(os.fstat(self._fd))

    def move(self, path: str) -> None:
        """Put it in its place, and what was there is gone; missing directories are made."""
        folder, _, name = path.rpartition("/")
        with self._tree.directory(folder, create=True) as parent, telling(self._tree.path_of(path)):
            os.replace(self._name, name, src_dir_fd=self._directory, dst_dir_fd=parent)
            self._tree.settle(parent)


class Scratch:
    """The directory `.encore/tmp`. Each file in it is locked by who writes it, until it is moved to its place."""

    def __init__(self, tree: Tree) -> None:
        """Make it in a tree."""
        self._tree = tree

    @contextlib.contextmanager
    def file(self, mode: int | None = None) -> Iterator[ScratchFile]:
        """A new file, gone after the block unless it was moved; by default, its permissions are the usual ones."""
        with self._tree.directory(SCRATCH, create=True) as directory:
            with telling(self._tree.path_of(SCRATCH)):
                name, fd = _create(directory, 0o666 if mode is None else mode)
            try:
                if mode is not None:
                    os.fchmod(fd, mode)  # the mask of the process has been at it
                yield ScratchFile(self._tree, directory, name, fd)
            finally:
                os.close(fd)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)

    def sweep(self) -> None:
        """Remove what killed processes have left. What can't be removed stays, and does no harm."""
        with contextlib.suppress(OSError), self._tree.directory(SCRATCH) as directory, os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    _remove_unless_locked(entry.name, directory)


def _create(directory: int, mode: int) -> tuple[str, int]:
    """The name and descriptor of a new file that we have locked."""
    while True:
        name = os.urandom(8).hex()
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=directory)
        lock(fd)
        if os.fstat(fd).st_nlink:
            return name, fd
        os.close(fd)  # swept away before it was locked


def _remove_unless_locked(name: str, directory: int) -> None:
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        if not is_locked(fd):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(fd)
