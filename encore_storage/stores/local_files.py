"""Files that a program names, to write a value to or to read one from: files, pipes and devices of the machine.

A file is replaced in one moment, once all of its bytes have come. Until then they have no name, where the file system
can do that: a kill leaves nothing. A name that they need for a moment, to replace another file, is one that no store
lists: in the scratch directory of the outermost store around. Only where there is none, it is beside the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

AnyPath = str | os.PathLike[str]

_SCRATCH = Path(".encore", "tmp")  # of a FileSystemStore, which sweeps what a kill leaves there
_ACCESS_LIST = "system.posix_acl_access"
_MOST_LINKS = 40
_UNNAMED: int = getattr(os, "O_TMPFILE", 0)
_HAS_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


def size_of(path: AnyPath) -> int | None:
    """Return how many bytes are expected of a file; None for a pipe, a device, or a file that the kernel makes up.

    What is wrong with the file is for its opening to say.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode) or (hasattr(os, "statvfs") and not os.statvfs(path).f_blocks):
            return None  # /proc and /sys have no blocks at all
    except OSError:
        return None
    return found.st_size


def opened(path: AnyPath) -> BinaryIO:
    """Open a file to read from.

    Raises:
        OpenDatabaseError: it is a database that a SqliteStore of this process has open.
    """
    _check_not_open(_found(Path(path)), path)
    return Path(path).open("rb")


@contextlib.contextmanager
def replacing(path: AnyPath) -> Iterator[Callable[[bytes], None]]:
    """Give a function that writes bytes; they replace those of the file when the block ends well, or else are gone.

    A symbolic link is followed, and stays. Permissions stay, and the owner where that is possible. Pipes, devices and
    open descriptors (`/dev/stdout`) are opened and written to as the bytes come, and never replaced.

    Raises:
        OpenDatabaseError: it is a database that a SqliteStore of this process has open.
    """
    place = Path(path)
    old = _found(place)
    is_file = old is None or stat.S_ISREG(old.st_mode)
    if not is_file or _is_descriptor(place):
        flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | (os.O_TRUNC if is_file else 0)
        with contextlib.closing(_Descriptor(place, flags)) as stream:
            yield partial(_write, stream.fd, path)
        return
    if os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    _check_not_open(old, path)
    with _part(Path(os.path.realpath(place)) if place.is_symlink() else place, path, old) as part:
        yield partial(_write, part.fd, path)
        with _naming(path):
            part.settle()


class _Descriptor:
    """An open file that no interrupt can lose: opening and closing are one step of the interpreter each."""

    def __init__(self, path: AnyPath, flags: int, mode: int = 0o666) -> None:
        """Open it."""
        opened: list[int] = []
        self._closing = map(os.close, opened)
        opened.extend(map(os.open, (path,), (flags | getattr(os, "O_BINARY", 0),), (mode,)))
        self.fd = opened[0]

    def close(self) -> None:
        """Close it; doing so twice changes nothing."""
        list(self._closing)

    __del__ = close


class _Part:
    """The bytes of a file that is not whole yet.

    Args:
        descriptor: the file that they are in.
        name: the path of that file; None while it has none.
        place: the path of the file that they will be in.
        old: the file that is there, or None.
    """

    def __init__(self, descriptor: _Descriptor, name: Path | None, place: Path, old: os.stat_result | None) -> None:
        """Make it of an open file."""
        self.fd = descriptor.fd
        self._descriptor = descriptor
        self._name = name
        self._place = place
        self._old = old

    def settle(self) -> None:
        """Replace the file that is there."""
        now = _found(self._place)
        _check_not_open(now, self._place)
        old = now or self._old
        if old is not None:
            _keep_permissions(self._place, old, self.fd)
        if self._name is not None:
            if self._name.parent == self._place.parent:  # elsewhere, that it is open keeps it from being swept
                self._descriptor.close()  # some file systems only tell now that there is no room
            self._name.replace(self._place)
        elif now is not None or not self._is_linked(self._place):
            self._replace_by_link()

    def _replace_by_link(self) -> None:
        for folder in (_scratch_around(self._place), self._place.parent):
            name = _new_name(folder)
            try:
                if self._is_linked(name):
                    name.replace(self._place)
                    return
            finally:
                name.unlink(missing_ok=True)

    def _is_linked(self, name: Path) -> bool:
        """Give the file a name, unless that is taken, or on what counts as another file system."""
        try:
            os.link(f"/proc/self/fd/{self.fd}", name, src_dir_fd=self.fd)  # which has the link of /proc followed
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.EXDEV):
                return False
            raise
        return True


@contextlib.contextmanager
def _part(place: Path, path: AnyPath, old: os.stat_result | None) -> Iterator[_Part]:
    """A new file for the bytes, gone after the block unless it has taken its place."""
    mode = 0o666 if old is None else 0o600
    with _naming(path):
        unnamed = _unnamed(place.parent, mode)
    if unnamed is not None:
        with contextlib.closing(unnamed):
            yield _Part(unnamed, None, place, old)
        return
    with _naming(path):
        name = _new_name(_scratch_around(place))
    try:
        with _naming(path):
            named = _Descriptor(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with contextlib.closing(named):
            _lock(named.fd)
            yield _Part(named, name, place, old)
    finally:
        name.unlink(missing_ok=True)


def _unnamed(folder: Path, mode: int) -> _Descriptor | None:
    """Return a file that has no name and is gone when it is closed; None where there can be none."""
    if not _UNNAMED or not Path("/proc/self/fd").exists():  # through which it gets its name
        return None
    try:
        descriptor = _Descriptor(folder, os.O_WRONLY | _UNNAMED, mode)
    except OSError as error:
        if error.errno in _HAS_NO_UNNAMED:
            return None
        raise
    _lock(descriptor.fd)
    return descriptor


def _scratch_around(place: Path) -> Path:
    """Return the scratch directory of the outermost store that the file is in, or the directory of the file.

    Somebody else who may write there could exchange the bytes.
    """
    here = place.parent.stat()
    inner = Path(os.path.realpath(place.parent))
    for outer in (*reversed(inner.parents), inner):
        with contextlib.suppress(OSError):
            found = (outer / _SCRATCH).lstat()
            is_private = found.st_uid in {here.st_uid, os.geteuid()} and not found.st_mode & stat.S_IWOTH
            is_near = stat.S_ISDIR(found.st_mode) and found.st_dev == here.st_dev
            if is_private and is_near and os.access(outer / _SCRATCH, os.W_OK):
                return outer / _SCRATCH
    return place.parent


def _new_name(folder: Path) -> Path:
    """Return a path that nobody has, however long the name of the file itself is."""
    return folder / f".{os.urandom(8).hex()}"


def _keep_permissions(place: Path, old: os.stat_result, fd: int) -> None:
    if not hasattr(os, "fchown"):
        return
    for user in (old.st_uid, -1):  # the group alone, where the owner cannot be kept
        with contextlib.suppress(PermissionError):
            os.fchown(fd, user, old.st_gid)
            break
    os.fchmod(fd, old.st_mode & 0o777)
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):  # there is none, mostly
            os.setxattr(fd, _ACCESS_LIST, os.getxattr(place, _ACCESS_LIST))


def _found(place: Path) -> os.stat_result | None:
    """Return what stands at the end of all links; None where nothing does."""
    try:
        return place.stat()
    except FileNotFoundError:
        return None


def _is_descriptor(place: Path) -> bool:
    """Whether the path leads through what a process has open, as `/dev/stdout` does."""
    for _ in range(_MOST_LINKS):
        folder = Path(os.path.realpath(place.parent))
        if folder.parts[:2] == ("/", "proc") and folder.name == "fd":
            return True
        if not place.is_symlink():
            return False
        place = folder / place.readlink()
    return False


def _write(fd: int, path: AnyPath, chunk: bytes) -> None:
    view = memoryview(chunk).cast("B")
    with _naming(path):
        while view:
            view = view[os.write(fd, view) :]


def _lock(fd: int) -> None:
    """Have a store that sweeps its scratch directory leave the file alone."""
    try:
        import fcntl  # noqa: PLC0415 (there is none on Windows)
    except ModuleNotFoundError:
        return
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _check_not_open(found: os.stat_result | None, path: AnyPath) -> None:
    from encore_storage.stores.open_databases import check_not_open  # noqa: PLC0415 (stores import this module)

    if found is not None:
        check_not_open(found, os.fspath(path))


@contextlib.contextmanager
def _naming(path: AnyPath) -> Iterator[None]:
    """A block of system calls whose errors name the path that the caller gave."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # an error of ours, which names it
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
