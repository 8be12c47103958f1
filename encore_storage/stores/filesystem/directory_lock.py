"""The lock of a store's directory, which one writer of all processes has at a time."""

from __future__ import annotations

import errno
import os
import stat

from encore_storage.errors import TransactionTimeoutError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.keys import OWN
from encore_storage.stores.filesystem.locked_files import LockedFile
from encore_storage.stores.filesystem.ownership import belong
from encore_storage.stores.filesystem.system import warn
from encore_storage.stores.filesystem.tree import NO_LINK, Tree

LOCK = f"{OWN}/lock"
_NAME = 64
_LINE = _NAME + 1
_PART = 64 * _LINE
"""Bytes that are read of the file at a time."""

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class DirectoryLock:
    """The lock of a directory: the file `.encore/lock`, in which stands whose metadata is in the middle of a change.

    A name in it is a mark. It is written before the first step of a change, and blanked out after the last, so that a
    process that is killed in between leaves it to the next one that opens the store.

    Args:
        tree: the directory.
        store: the name of the store, for errors.

    Attributes:
        tree: the directory, which is kept open while this has the lock.
        unsettled: the keys that the writer is in the middle of changing.
    """

    def __init__(self, tree: Tree, store: str) -> None:
        """Make it, not acquired."""
        self.tree = tree
        self._store = store
        self._file = LockedFile()
        self._directories = Descriptors()
        self._places: dict[str, int] = {}
        self.unsettled: list[str] = []

    def acquire(self) -> None:
        """Wait for the lock, and take it.

        Raises:
            TransactionTimeoutError: the calling thread has it already, by another store.
        """
        self.tree = self.tree.kept_open(self._directories)
        own = self._directories[-1]
        with self.tree.naming(LOCK):
            try:
                self._file.open("lock", os.O_RDWR | NO_LINK, 0, parent=own)
            except FileNotFoundError:
                self._make(own)
        self.wait()

    def open_if_made(self) -> bool:
        """Open the file for its marks, and return whether it is there. The lock is not acquired by that."""
        try:
            with self.tree.directory(OWN) as own, self.tree.naming(LOCK):
                try:
                    self._file.open("lock", os.O_RDWR | NO_LINK, 0, parent=own)
                except OSError as error:
                    if error.errno not in _READ_ONLY:
                        raise
                    self._file.open("lock", os.O_RDONLY | NO_LINK, 0, parent=own)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def wait(self) -> None:
        """Wait for the lock, as `acquire` does, once the file is open."""
        if self._file.try_lock():
            return
        if self._file.is_locked_here():
            raise TransactionTimeoutError(
                self._store,
                "a write of this thread to the same directory is under way, which this call has interrupted",
            )
        self._file.lock()

    def release(self) -> None:
        """Give the lock back; doing so twice changes nothing."""
        try:
            if self.is_held:
                self._file.unlock()  # a child forked without hooks has the descriptor too, so closing is not enough
        except (IndexError, OSError) as error:
            warn("the lock %r could not be released, only closed: %s", self.tree.path_of(LOCK), error)
        self._file.close()
        self._directories.close()

    @property
    def is_held(self) -> bool:
        """Whether it is open, and not that of the process that this one was forked from."""
        return self._file.is_open and self._file.is_ours

    def mark(self, name: str) -> None:
        """Write down whose metadata is about to change. Raises ForkedStoreError."""
        self._file.check_process(self.tree.path_of(LOCK))
        lines = self._lines()
        free = (place for place, line in enumerate(lines) if line == name or not line.strip())
        self._places[name] = place = next(free, len(lines))
        with self.tree.naming(LOCK):
            os.pwrite(self._file.fd, f"{name}\n".encode("ascii"), place * _LINE)
            self.tree.settle(self._file.fd)

    def unmark(self, name: str) -> None:
        """Blank out the name, if it is there."""
        place = self._places.pop(name, None)
        if place is not None:
            with self.tree.naming(LOCK):
                os.pwrite(self._file.fd, b" " * _NAME, place * _LINE)

    def marked(self) -> list[str]:
        """Return whose metadata was, or is, in the middle of a change."""
        lines = self._lines()
        self._places = {line: place for place, line in enumerate(lines) if len(line) == _NAME and line.isalnum()}
        return list(self._places)

    def _lines(self) -> list[str]:
        text = b""
        with self.tree.naming(LOCK):
            while part := os.pread(self._file.fd, _PART, len(text)):
                text += part
                if len(part) < _PART:
                    break
        return [text[start : start + _NAME].decode("ascii", "replace") for start in range(0, len(text), _LINE)]

    def _make(self, own: int) -> None:
        above = os.fstat(own)
        mode = stat.S_IMODE(above.st_mode) & 0o666
        fd = self._file.open("lock", os.O_RDWR | os.O_CREAT | NO_LINK, mode, parent=own)
        belong(fd, os.fstat(fd), above)
