"""The lock of a store's directory, which one writer among all processes holds at a time."""

from __future__ import annotations

import errno
import os
import stat

from encore_storage.errors import TransactionTimeoutError
from encore_storage.stores.filesystem.keys import OWN
from encore_storage.stores.filesystem.locked_files import LockedFile
from encore_storage.stores.filesystem.ownership import copy_owner
from encore_storage.stores.filesystem.system import lock, try_lock, unlock, warn
from encore_storage.stores.filesystem.tree import NO_LINK, Tree

LOCK = f"{OWN}/lock"
_NAME = 64
_LINE = _NAME + 1
_PART = 64 * _LINE  # bytes per read of the file
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class DirectoryLock:
    """The lock of a directory: the file `.encore/lock`, which lists the metadata files that are being changed.

    A name in the file is a mark. It is written before the first step of a change, and blanked out after the last. After
    a kill in between, the next process that opens the store finds it.

    Attributes:
        tree: the directory, kept open while the lock is held.
        unresolved: the keys that the writer is changing.
    """

    def __init__(self, tree: Tree, store: str) -> None:
        self.tree = tree
        self._store = store
        self._file = LockedFile()
        self._opened = tree.opened()
        self._places: dict[str, int] = {}
        self.unresolved: list[str] = []

    def acquire(self) -> None:
        """Acquire the lock, waiting for other writers. Raises TransactionTimeoutError if this thread holds it."""
        self.tree = self._opened.__enter__()
        own = self._opened.keep(OWN, create=True)
        with self.tree.path_errors(LOCK):
            try:
                self._file.open("lock", os.O_RDWR | NO_LINK, 0, parent=own)
            except FileNotFoundError:
                self._create(own)
        self.wait()

    def open_if_exists(self) -> bool:
        """Open the file to read its marks, without acquiring the lock; return False if it does not exist."""
        try:
            with self.tree.directory(OWN) as own, self.tree.path_errors(LOCK):
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
        """Acquire the lock, as `acquire` does, once the file is open."""
        if try_lock(self._file.fd):
            return
        if self._file.is_locked_here():
            raise TransactionTimeoutError(
                self._store, "this call has interrupted a write of its own thread to the same directory"
            )
        lock(self._file.fd)

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        try:
            if self.is_held:
                unlock(self._file.fd)  # closing is not enough: a child forked without hooks has the descriptor too
        except (IndexError, OSError) as error:
            warn("the lock %r could not be released, only closed: %s", self.tree.path_of(LOCK), error)
        self._file.close()
        self._opened.close()

    @property
    def is_held(self) -> bool:
        """True if the file is open, and belongs to this process."""
        return self._file.is_open and self._file.is_ours

    def mark(self, name: str) -> None:
        """Mark a metadata file before it changes. Raises ForkedStoreError."""
        self._file.check_process(self.tree.path_of(LOCK))
        lines = self._lines()
        free = (place for place, line in enumerate(lines) if line == name or not line.strip())
        self._places[name] = place = next(free, len(lines))
        with self.tree.path_errors(LOCK):
            os.pwrite(self._file.fd, f"{name}\n".encode("ascii"), place * _LINE)
            self.tree.sync(self._file.fd)

    def unmark(self, name: str) -> None:
        """Remove the mark, if there is one."""
        place = self._places.pop(name, None)
        if place is not None:
            with self.tree.path_errors(LOCK):
                os.pwrite(self._file.fd, b" " * _NAME, place * _LINE)

    def marked(self) -> list[str]:
        """Return the names of the marked metadata files."""
        lines = self._lines()
        self._places = {line: place for place, line in enumerate(lines) if len(line) == _NAME and line.isalnum()}
        return list(self._places)

    def _lines(self) -> list[str]:
        text = b""
        with self.tree.path_errors(LOCK):
            while part := os.pread(self._file.fd, _PART, len(text)):
                text += part
                if len(part) < _PART:
                    break
        return [text[start : start + _NAME].decode("ascii", "replace") for start in range(0, len(text), _LINE)]

    def _create(self, own: int) -> None:
        above = os.fstat(own)
        mode = stat.S_IMODE(above.st_mode) & 0o666
        fd = self._file.open("lock", os.O_RDWR | os.O_CREAT | NO_LINK, mode, parent=own)
        copy_owner(fd, os.fstat(fd), above)
