"""A directory tree that no path leads out of."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from encore_storage.errors import StoreConnectionError
from encore_storage.stores._keys import OWN, is_own
from encore_storage.stores._system import lock, telling, unlock


class Token(NamedTuple):
    """Which bytes a file holds: another file, or this one changed in place, has another token."""

    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """The token of the file that was found."""
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)


class Tree:
    """A directory and what is below it, reached name by name so that no symbolic link is ever followed.

    Paths are relative to it, with '/' between the names; '' is the directory itself. It holds nothing open.

    Args:
        root: the directory; a symbolic link to it is followed once, here.
        durable: whether what is written must outlive a loss of power.
    """

    def __init__(self, root: str, *, durable: bool) -> None:
        """Make the tree; the directory need not be there yet."""
        self.root = os.path.realpath(root)
        self._durable = durable

    def make(self) -> None:
        """Make the directory, and those above it, where they are missing."""
        with contextlib.suppress(FileExistsError):  # no directory, as `check` will say
            self._make(Path(self.root))

    def check(self) -> None:
        """Refuse what can't be used. Raises StoreConnectionError."""
        if os.open not in os.supports_dir_fd:
            raise StoreConnectionError("a FileSystemStore needs a POSIX system, which opens files relative to others")
        os.close(self._open_root())

    @contextlib.contextmanager
    def directory(self, path: str, *, create: bool = False) -> Iterator[int]:
        """The descriptor of a directory, open in the block; with `create`, made if it is missing.

        Raises:
            NotADirectoryError: something else stands in its place or in that of one above it.
        """
        fd = self._open_root()
        try:
            for name in filter(None, path.split("/")):
                with telling(self.path_of(path)):
                    fd, outer = self._open_directory(name, fd, create=create), fd
                os.close(outer)
            yield fd
        finally:
            os.close(fd)

    def open(self, path: str, flags: int) -> int:
        """The descriptor of a file; opening what is no file never blocks."""
        folder, _, name = path.rpartition("/")
        with self.directory(folder) as parent, telling(self.path_of(path)):
            return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)

    def look(self, path: str) -> os.stat_result | None:
        """What stands at the path, or None."""
        folder, _, name = path.rpartition("/")
        try:
            with self.directory(folder) as parent, telling(self.path_of(path)):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def files(self) -> Iterator[str]:
        """The paths of all ordinary files but the store's own, in order, each directory read when it is reached."""
        waiting = [("", True)]
        while waiting:
            path, is_directory = waiting.pop()
            if is_directory:
                waiting += self._listed(path)
            else:
                yield path

    def unlink(self, path: str) -> None:
        """Remove a file."""
        folder, _, name = path.rpartition("/")
        with self.directory(folder) as parent, telling(self.path_of(path)):
            os.unlink(name, dir_fd=parent)
            self.settle(parent)

    def prune(self, path: str) -> None:
        """Remove the directory if it is empty, and then those above it that are."""
        with contextlib.suppress(OSError):  # the first that has to stay
            while path:
                folder, _, name = path.rpartition("/")
                with self.directory(folder) as parent:
                    os.rmdir(name, dir_fd=parent)
                    self.settle(parent)
                path = folder

    def settle(self, fd: int) -> None:
        """Have what was written to a file or a directory outlive a loss of power, if that is wanted."""
        if self._durable:
            os.fsync(fd)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A block that one process at a time is in."""
        with self.directory(OWN, create=True) as own, telling(self.path_of(f"{OWN}/lock")):
            fd = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666, dir_fd=own)
        try:
            lock(fd)
            yield
        finally:
            unlock(fd)  # a child that was forked meanwhile has the descriptor too, so closing is not enough
            os.close(fd)

    def path_of(self, path: str) -> str:
        """The whole path, for errors."""
        return os.path.join(self.root, path) if path else self.root  # noqa: PTH118 (names need not be UTF-8)

    def _make(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make(path.parent)
        path.mkdir(exist_ok=True)
        if self._durable:
            with Tree(str(path.parent), durable=True).directory("") as above:
                self.settle(above)

    def _open_root(self) -> int:
        try:
            return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as error:
            raise StoreConnectionError(
                f"there is no directory {self.root!r}: make it, or open the store with create=True"
            ) from error
        except NotADirectoryError as error:
            raise StoreConnectionError(f"{self.root!r} is not a directory: give one to keep the values in") from error

    def _open_directory(self, name: str, parent: int, *, create: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            return os.open(name, flags, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):  # made by another process since
            os.mkdir(name, dir_fd=parent)
        self.settle(parent)
        return os.open(name, flags, dir_fd=parent)

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        """The files and directories in one directory, and which are directories; the first comes last."""
        prefix = f"{path}/" if path else ""
        try:
            with self.directory(path) as fd, os.scandir(fd) as entries:
                found = [
                    (prefix + entry.name, is_directory)
                    for entry in entries
                    if (is_directory := entry.is_dir(follow_symlinks=False)) or entry.is_file(follow_symlinks=False)
                ]
        except (FileNotFoundError, NotADirectoryError):  # gone since it was listed
            return []
        return sorted((item for item in found if not is_own(item[0])), reverse=True)
