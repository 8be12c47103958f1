"""A directory tree that no path leads out of."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from encore_storage.errors import StoreConnectionError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.keys import OWN, is_own
from encore_storage.stores.filesystem.ownership import Original, belong
from encore_storage.stores.filesystem.system import Naming, join, warn
from encore_storage.stores.open_databases import check_not_open, is_any_open
from encore_storage.streams import MEBIBYTE

DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


_AS_EFFECTIVE_USER = os.access in os.supports_effective_ids


class Token(NamedTuple):
    """Which bytes a file holds: another file, or this one changed in place, has another token."""

    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Return the token of the file that was found."""
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)

    @property
    def content(self) -> tuple[int, int]:
        """What a copy of the file has too that keeps its time."""
        return self.modified, self.size


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
        self.durable = durable

    def make(self) -> None:
        """Make the directory, and those above it, where they are missing."""
        with contextlib.suppress(FileExistsError):  # no directory, as `check` will say
            self._make(Path(self.root))

    def check(self) -> None:
        """Refuse what can't be used. Raises StoreConnectionError."""
        if os.open not in os.supports_dir_fd:
            raise StoreConnectionError("a FileSystemStore needs a POSIX system, which opens files relative to others")
        with self.directory(""):
            pass

    def is_writable(self) -> bool:
        """Return whether this process may write to the directory, and to the store's own in it, where there is any."""
        own = self.path_of(OWN)
        parts = [join(own, name) for name in ("lock", "metadata", "tmp")]
        there = [path for path in parts if os.path.lexists(path)]
        if len(there) < len(parts) and os.path.lexists(own):
            there.append(own)
        return all(_is_writable(path) for path in (self.root, *there))

    def directory(self, path: str, *, create: bool = False) -> Directory:
        """Return a block that has a directory open; with `create`, it is made if it is missing.

        Entering it raises NotADirectoryError if something else stands in its place or in that of one above it.
        """
        return Directory(self, path, create=create)

    def descend(self, path: str, held: Descriptors, *, create: bool) -> int:
        """Open a directory, the only one that is kept in `held`, and return its descriptor."""
        return self.walk(path, path.split("/") if path else [], self._open_root(held), held, create=create)

    def walk(self, path: str, names: list[str], fd: int, held: Descriptors, *, create: bool) -> int:
        """Open the directories of those names one in the other, beginning in `fd`; only the last is kept in `held`."""
        for name in names:
            with Naming(self.root, path):
                fd = self._open_directory(path, name, fd, held, create=create)
            if len(held) > 1:
                held.close_first()
        return fd

    def kept_open(self, held: Descriptors) -> OpenTree:
        """Open the directory and the store's own in it, which is made if it is missing, and return a tree of these."""
        root = self._open_root(held)
        with self.naming(OWN):
            own = self._open_directory(OWN, OWN, root, held, create=True)
        return OpenTree(self, root, own)

    def open(self, path: str, flags: int, mode: int = 0o666) -> Descriptors:
        """Open a file. What is no file never blocks.

        Raises:
            OpenDatabaseError: it is part of a database that this process has open.
        """
        folder, _, name = path.rpartition("/")
        file = Descriptors()
        with self.directory(folder) as parent, self.naming(path):
            if is_any_open():
                check_not_open(os.stat(name, dir_fd=parent, follow_symlinks=False), self.path_of(path))
            file.open(name, flags | NO_LINK, mode, parent=parent)
        return file

    def read(self, path: str) -> bytes:
        """Return what is in a file."""
        with self.open(path, os.O_RDONLY) as file:
            parts = []
            while part := os.read(file[0], MEBIBYTE):
                parts.append(part)
        return b"".join(parts)

    def look(self, path: str) -> os.stat_result | None:
        """Return what stands at the path, or None."""
        folder, _, name = path.rpartition("/")
        try:
            with self.directory(folder) as parent, self.naming(path):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def examine(self, path: str, known: Original | None = None) -> Original | None:
        """Return what stands at the path with what a file in its place should take over from it, or None.

        That is `known` itself if it has not changed.
        """
        folder, _, name = path.rpartition("/")
        try:
            with self.directory(folder) as parent, self.naming(path):
                return Original.of(name, parent, known)
        except FileNotFoundError:
            return None

    def files(self) -> Iterator[str]:
        """All ordinary files' paths but the store's own, in order, each directory read when it is reached."""
        waiting = [("", True)]
        while waiting:
            path, is_directory = waiting.pop()
            if is_directory:
                waiting += self._listed(path)
            else:
                yield path

    def unlink(self, path: str) -> None:
        """Remove a file. Raises only if it is still there, or was not."""
        folder, _, name = path.rpartition("/")
        with self.directory(folder) as parent, self.naming(path):
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                raise
            except OSError:
                if _stands(name, parent):
                    raise
            self.settle_entry(parent, path)

    def prune(self, path: str) -> None:
        """Remove the directory if it is empty or missing, and then those above it that are."""
        while path:
            folder, _, name = path.rpartition("/")
            try:
                with self.directory(folder) as parent:
                    os.rmdir(name, dir_fd=parent)
                    self.settle(parent)
            except FileNotFoundError:
                pass
            except OSError:  # the first that has to stay
                return
            path = folder

    def settle(self, fd: int) -> None:
        """Have what was written to a file or a directory outlive a loss of power, if that is wanted."""
        if self.durable:
            os.fsync(fd)

    def settle_entry(self, parent: int, path: str) -> None:
        """Do the same for the directory of a file that was put to `path`, or removed; what fails is only logged."""
        try:
            self.settle(parent)
        except OSError as error:
            warn("the change of %r is made, but may not outlive a loss of power: %s", self.path_of(path), error)

    def naming(self, path: str) -> Naming:
        """Return a block whose errors name the whole path."""
        return Naming(self.root, path)

    def path_of(self, path: str) -> str:
        """Return the whole path, for errors."""
        return join(self.root, path)

    def _make(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make(path.parent)
        path.mkdir(exist_ok=True)
        if self.durable:
            with Tree(str(path.parent), durable=True).directory("") as above:
                self.settle(above)

    def _open_root(self, held: Descriptors) -> int:
        try:
            return held.open(self.root, DIRECTORY)
        except FileNotFoundError as error:
            raise StoreConnectionError(
                f"there is no directory {self.root!r}: make it, or open the store with create=True"
            ) from error
        except NotADirectoryError as error:
            raise StoreConnectionError(f"{self.root!r} is not a directory: give one to keep the values in") from error

    def _open_directory(self, path: str, name: str, parent: int, held: Descriptors, *, create: bool) -> int:
        try:
            return held.open(name, DIRECTORY | NO_LINK, parent=parent)
        except FileNotFoundError:
            if not create:
                raise
        return self._make_directory(path, name, parent, held)

    def _make_directory(self, path: str, name: str, parent: int, held: Descriptors) -> int:
        """Make and open one. The store's own are no more accessible than what they are in, and of its owner."""
        above = os.fstat(parent) if is_own(path) else None
        with contextlib.suppress(FileExistsError):  # made by another process since
            os.mkdir(name, 0o777 if above is None else stat.S_IMODE(above.st_mode) & 0o777, dir_fd=parent)
        self.settle(parent)
        fd = held.open(name, DIRECTORY | NO_LINK, parent=parent)
        if above is not None:
            belong(fd, os.fstat(fd), above)
        return fd

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        """Return the files and directories in one directory, and which are directories; the first comes last."""
        prefix = f"{path}/" if path else ""
        try:
            with self.directory(path) as fd:
                entries = list(chain.from_iterable(map(os.scandir, (fd,))))  # opened and closed in one step
                found = [
                    (prefix + entry.name, is_directory)
                    for entry in entries
                    if (is_directory := entry.is_dir(follow_symlinks=False)) or entry.is_file(follow_symlinks=False)
                ]
        except (FileNotFoundError, NotADirectoryError):  # gone since it was listed
            return []
        return sorted((item for item in found if not is_own(item[0])), reverse=True)


class OpenTree(Tree):
    """The same tree, whose directory is open, and the store's own in it, so that each step opens less.

    Args:
        tree: the tree.
        root: its directory.
        own: the store's own directory in it.
    """

    def __init__(self, tree: Tree, root: int, own: int) -> None:
        """Make it of open directories, which whoever has opened them closes."""
        self.root = tree.root
        self.durable = tree.durable
        self._fd = root
        self._own = own

    def descend(self, path: str, held: Descriptors, *, create: bool) -> int:
        """Open a directory, the only one that is kept in `held`, unless it is open; return its descriptor."""
        names = path.split("/") if path else []
        if names[:1] == [OWN]:
            return self.walk(path, names[1:], self._own, held, create=create)
        return self.walk(path, names, self._fd, held, create=create)


class Directory:
    """A directory that is open in a block, which has its descriptor."""

    __slots__ = ("_create", "_held", "_path", "_tree")

    def __init__(self, tree: Tree, path: str, *, create: bool) -> None:
        """Make the block."""
        self._tree = tree
        self._path = path
        self._create = create
        self._held = Descriptors()

    def __enter__(self) -> int:
        """Open it."""
        try:
            return self._tree.descend(self._path, self._held, create=self._create)
        except BaseException:
            self._held.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self._held.close()


def _stands(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return True


def _is_writable(path: str) -> bool:
    wanted = os.R_OK | os.W_OK | (os.X_OK if os.path.isdir(path) else 0)  # noqa: PTH112 (names need not be UTF-8)
    return os.access(path, wanted, effective_ids=_AS_EFFECTIVE_USER)
