"""A directory tree that no path can leave."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from encore_storage.errors import StoreConnectionError
from encore_storage.stores.filesystem.descriptors import Descriptors
from encore_storage.stores.filesystem.keys import OWN, is_own
from encore_storage.stores.filesystem.ownership import Original, copy_owner
from encore_storage.stores.filesystem.system import PathErrors, join, path_error, warn
from encore_storage.stores.open_databases import check_not_open, is_any_open

DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_PART = 65536  # bytes per read; larger buffers cost system calls of their own
_MOST_HELD = 8  # directories that are open on the way to a deep one

_AS_EFFECTIVE_USER = os.access in os.supports_effective_ids


class Token(NamedTuple):
    """The identity of a file's bytes: another file, or the same one changed in place, has another token."""

    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Return the token of the file with that status."""
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)

    @property
    def content(self) -> tuple[int, int]:
        """The part of the token that a copy of the file shares if it keeps the time."""
        return self.modified, self.size


class Tree:
    """A directory and what is below it, reached name by name, so that no symbolic link is followed.

    Paths are relative to it, with '/' between the names; '' is the directory itself. It keeps nothing open.

    Args:
        root: the directory, which need not exist yet; a symbolic link to it is resolved here, once.
        durable: whether writes must survive a power loss.
    """

    def __init__(self, root: str, *, durable: bool) -> None:
        self.root = os.path.realpath(root)
        self.durable = durable

    def make(self) -> None:
        """Create the directory and its parents where they are missing."""
        with contextlib.suppress(FileExistsError):  # not a directory: `check` raises the error
            self._make(Path(self.root))

    def check(self) -> None:
        """Raise StoreConnectionError if the directory cannot be used."""
        if os.open not in os.supports_dir_fd:
            raise StoreConnectionError("FileSystemStore needs a POSIX system, with dir_fd: use another store")
        with self.directory(""):
            pass

    def is_writable(self) -> bool:
        """Return whether this process may write to the directory, and to the store's own directory if it exists."""
        own = self.path_of(OWN)
        parts = [join(own, name) for name in ("lock", "metadata", "tmp")]
        there = [path for path in parts if os.path.lexists(path)]
        if len(there) < len(parts) and os.path.lexists(own):
            there.append(own)
        return all(_is_writable(path) for path in (self.root, *there))

    def opened(self) -> OpenTree:
        """Return a block in which the directory is open, so that the steps of an operation don't open it anew."""
        return OpenTree(self)

    def directory(self, path: str, *, create: bool = False) -> Directory:
        """Return a block in which a directory is open; with `create`, it is created if it is missing.

        Entering the block raises NotADirectoryError if the path, or a parent, is something else.
        """
        return Directory(self, path, create=create)

    def descend(self, path: str, held: Descriptors, *, create: bool) -> int:
        """Open a directory and return its descriptor, the last that `held` keeps."""
        root = self._open_root(held)
        return self.walk(path, path.split("/"), root, held, create=create) if path else root

    def walk(self, path: str, names: list[str], fd: int, held: Descriptors, *, create: bool) -> int:
        """Open nested directories by name, beginning in `fd`; `held` keeps the last."""
        try:
            for name in names:
                fd = self._open_directory(path, name, fd, held, create=create)
                if len(held) > _MOST_HELD:
                    held.close_first()
        except OSError as error:
            raise path_error(error, self.root, path) from error
        return fd

    def open(self, path: str, flags: int, mode: int = 0o666) -> Descriptors:
        """Open a file, without blocking on a pipe. Raises OpenDatabaseError."""
        folder, _, name = path.rpartition("/")
        file = Descriptors()
        with self.directory(folder) as parent, self.path_errors(path):
            if is_any_open():
                check_not_open(os.stat(name, dir_fd=parent, follow_symlinks=False), self.path_of(path))
            file.open(name, flags | NO_LINK, mode, parent=parent)
        return file

    def create(self, path: str, mode: int) -> Descriptors:
        """Create a file for writing, which must not exist. Missing directories are created."""
        folder, _, name = path.rpartition("/")
        file = Descriptors()
        with self.directory(folder, create=True) as parent, self.path_errors(path):
            file.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, mode, parent=parent)
        return file

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        with self.open(path, os.O_RDONLY) as file:
            parts = [os.read(file[0], _PART)]
            while len(parts[-1]) == _PART:
                parts.append(os.read(file[0], _PART))
        return b"".join(parts)

    def status(self, path: str) -> os.stat_result | None:
        """Return the status of what is at the path, or None if it does not exist."""
        try:
            with self.directory(path.rpartition("/")[0]) as parent:
                return self.status_in(parent, path)
        except FileNotFoundError:
            return None

    def status_in(self, parent: int, path: str) -> os.stat_result | None:
        """Do the same for a path whose directory is open."""
        try:
            return os.stat(path.rpartition("/")[2], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise path_error(error, self.root, path) from error

    def examine(self, path: str, known: Original | None = None) -> Original | None:
        """Return the status and the attributes of what is at the path, or None if it does not exist.

        Return `known` itself if that is unchanged.
        """
        folder, _, name = path.rpartition("/")
        try:
            with self.directory(folder) as parent, self.path_errors(path):
                return Original.of(name, parent, known)
        except FileNotFoundError:
            return None

    def files(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all ordinary files that begin with `prefix`, but the store's own, in order.

        Read directories as they are reached.
        """
        waiting = [("", True)]
        while waiting:
            path, is_directory = waiting.pop()
            if is_directory:
                if not path or f"{path}/".startswith(prefix) or prefix.startswith(f"{path}/"):
                    waiting += self._listed(path)
            elif path.startswith(prefix):
                yield path

    def unlink(self, path: str) -> None:
        """Remove a file. Raise an error only if it did not exist, or still does."""
        folder, _, name = path.rpartition("/")
        with self.directory(folder) as parent, self.path_errors(path):
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                raise
            except OSError:
                if _exists(name, parent):
                    raise
            self.sync_entry(parent, path)

    def prune(self, path: str) -> None:
        """Remove the directory if it is empty or missing, and then its parents likewise."""
        while path:
            folder, _, name = path.rpartition("/")
            try:
                with self.directory(folder) as parent:
                    os.rmdir(name, dir_fd=parent)
                    self.sync(parent)
            except FileNotFoundError:
                pass
            except OSError:  # not empty
                return
            path = folder

    def sync(self, fd: int) -> None:
        """Sync a file or a directory to the disk if writes are durable."""
        if self.durable:
            os.fsync(fd)

    def sync_entry(self, parent: int, path: str) -> None:
        """Sync the directory of a file that was placed at `path`, or removed. Log an error instead of raising it."""
        try:
            self.sync(parent)
        except OSError as error:
            warn("%r was changed, but the change may not survive a power loss: %s", self.path_of(path), error)

    def path_errors(self, path: str) -> PathErrors:
        """Return a block in which errors of system calls name the full path."""
        return PathErrors(self.root, path)

    def path_of(self, path: str) -> str:
        """Return the full path, for errors."""
        return join(self.root, path)

    def _make(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make(path.parent)
        path.mkdir(exist_ok=True)
        if self.durable:
            with Tree(str(path.parent), durable=True).directory("") as above:
                self.sync(above)

    def _open_root(self, held: Descriptors) -> int:
        try:
            return held.open(self.root, DIRECTORY)
        except FileNotFoundError as error:
            raise StoreConnectionError(
                f"the directory {self.root!r} does not exist: create it, or open the store with create=True"
            ) from error
        except NotADirectoryError as error:
            raise StoreConnectionError(f"{self.root!r} is not a directory: use the path of a directory") from error

    def _open_directory(self, path: str, name: str, parent: int, held: Descriptors, *, create: bool) -> int:
        try:
            return held.open(name, DIRECTORY | NO_LINK, parent=parent)
        except FileNotFoundError:
            if not create:
                raise
        return self._make_directory(path, name, parent, held)

    def _make_directory(self, path: str, name: str, parent: int, held: Descriptors) -> int:
        """Create and open a directory. The store's own get the owner of their parent, and no more permissions."""
        above = os.fstat(parent) if is_own(path) else None
        with contextlib.suppress(FileExistsError):  # another process has created it
            os.mkdir(name, 0o777 if above is None else stat.S_IMODE(above.st_mode) & 0o777, dir_fd=parent)
        self.sync(parent)
        fd = held.open(name, DIRECTORY | NO_LINK, parent=parent)
        if above is not None:
            copy_owner(fd, os.fstat(fd), above)
        return fd

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        """Return the files and directories in a directory in reverse order, each with whether it is a directory."""
        prefix = f"{path}/" if path else ""
        try:
            with self.directory(path) as fd:
                entries = list(chain.from_iterable(map(os.scandir, (fd,))))  # opened and closed in one step
                found = [
                    (prefix + entry.name, is_directory)
                    for entry in entries
                    if (is_directory := entry.is_dir(follow_symlinks=False)) or entry.is_file(follow_symlinks=False)
                ]
        except (FileNotFoundError, NotADirectoryError):  # removed since it was listed
            return []
        return sorted((item for item in found if not is_own(item[0])), reverse=True)


class OpenTree(Tree):
    """A tree whose directory stays open until the end of a block, and so do those of the store's own that it reads.

    So each step of an operation opens fewer directories. Kept for longer, they would block an unmount.
    """

    def __init__(self, tree: Tree) -> None:
        self.root = tree.root
        self.durable = tree.durable
        self._held = Descriptors()
        self._kept: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._open_root(self._held)
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories. A second call does nothing."""
        self._held.close()
        self._kept.clear()

    def is_missing(self, path: str) -> bool:
        """Return True only if nothing exists at the path, even if links were followed: the quickest answer."""
        try:
            os.stat(path, dir_fd=self._held[0])
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return False

    def keep(self, path: str, *, create: bool = False) -> int:
        """Return the descriptor of a directory of the store's own, which stays open until the end of the block."""
        fd = self._kept.get(path)
        if fd is None:
            above, _, name = path.rpartition("/")
            parent = self.keep(above, create=create) if above else self._held[0]
            fd = self._kept[path] = self.walk(path, [name], parent, self._held, create=create)
        return fd

    def descend(self, path: str, held: Descriptors, *, create: bool) -> int:
        """Return the descriptor of a directory, the last that `held` keeps unless the tree keeps it itself."""
        if not path:
            return self._held[0]
        own, _, rest = path.partition("/")
        if own != OWN:
            return self.walk(path, path.split("/"), self._held[0], held, create=create)
        if path in self._kept or not (create and rest):
            return self.keep(path, create=create)
        return self.walk(path, rest.split("/"), self.keep(OWN, create=create), held, create=create)


class Directory:
    """A block in which a directory is open. Its value is the descriptor."""

    __slots__ = ("_create", "_held", "_path", "_tree")

    def __init__(self, tree: Tree, path: str, *, create: bool) -> None:
        self._tree = tree
        self._path = path
        self._create = create
        self._held = Descriptors()

    def __enter__(self) -> int:
        try:
            return self._tree.descend(self._path, self._held, create=self._create)
        except BaseException:
            self._held.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._held.close()


def _exists(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return True


def _is_writable(path: str) -> bool:
    wanted = os.R_OK | os.W_OK | (os.X_OK if os.path.isdir(path) else 0)  # noqa: PTH112 (names need not be UTF-8)
    return os.access(path, wanted, effective_ids=_AS_EFFECTIVE_USER)
