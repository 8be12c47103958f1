"""The file that one process counts in and others read."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from mmap import mmap
from pathlib import Path
from typing import NamedTuple, Self

from encore_events.forks import renew_in_child
from encore_storage.processes.cell_format import CHUNK, START, record_of, write_closed, write_header, write_used
from encore_storage.processes.cells import CELL, Key, length_of
from encore_storage.processes.descriptors import OwnDescriptor, opening
from encore_storage.processes.liveness import pid_namespace, start_time

_kept = list[mmap]()
"""Mappings that are never unmapped, since the program has reused their descriptors."""


class CellFile:
    """A file of cells of this process, locked as long as the process lives.

    The `Cells` of the process call `reserve()` and `commit()` under their lock, and `close()` or `remove()` at the end.

    Attributes:
        path: the file.
        is_full: True once the file could not grow, and that was logged.
    """

    def __init__(self, path: Path, lock: OwnDescriptor) -> None:
        self.path = path
        self.is_full = False
        self._lock = lock
        self._file = _identity(os.fstat(lock.number))
        self._mappings: list[_Mapping] = []
        self._size = 0
        self._end = self._next = START
        renew_in_child(self, CellFile._renew)
        write_header(self._map(CHUNK).memory, os.getpid(), start_time(os.getpid()), pid_namespace())

    def __repr__(self) -> str:
        return f"<CellFile {self.path.name!r}: {self._end} bytes>"

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Make a file in `directory`; readers see it once it is complete. Raises OSError."""
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        unfinished = directory / f"{name}.new"
        with ExitStack() as undo:
            lock = OwnDescriptor.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            undo.callback(lock.close)
            undo.callback(unfinished.unlink, missing_ok=True)
            fcntl.flock(lock.number, fcntl.LOCK_EX)  # a reader may hold it for a moment
            file = cls(directory / f"{name}.cells", lock)
            unfinished.rename(file.path)
            undo.pop_all()
        return file

    def reserve(self, key: Key) -> tuple[mmap, int]:
        """Write the record of a block, which readers see after `commit()`. Return its memory and its offset there.

        Raises:
            OSError: the file cannot grow.
        """
        record = record_of(key)
        if self._end + len(record) > self._size:
            self._map(-(-len(record) // CHUNK) * CHUNK)
        mapping = self._mappings[-1]
        start = max(self._end, mapping.start)
        if start > self._end:
            self._skip_rest()
        offset = start - mapping.start
        mapping.memory[offset : offset + len(record)] = record
        self._next = start + len(record)
        return mapping.memory, offset + len(record) - length_of(key)

    def commit(self) -> None:
        """Publish the record that was reserved."""
        self._end = self._next
        write_used(self._mappings[0].memory, self._end)

    def close(self) -> None:
        """Mark the file as closed, and release it. Its counts are read until they are folded."""
        write_closed(self._mappings[0].memory)
        self._release()

    def remove(self) -> None:
        """Remove the file and its counts, and release it."""
        self.path.unlink(missing_ok=True)
        self._release()

    def _skip_rest(self) -> None:
        """Mark the rest of the chunk as unused. There may be a record that was interrupted."""
        for mapping in self._mappings:
            offset = self._end - mapping.start
            if 0 <= offset < len(mapping.memory):
                mapping.memory[offset : offset + CELL] = bytes(CELL)

    def _map(self, length: int) -> _Mapping:
        """Add a mapping of `length` bytes."""
        with self._opened() as number:
            _allocate(number, self._size, length)
            known = _descriptors_of(self._file)
            with opening() as own:
                memory = mmap(number, length, offset=self._size)
                copies = list[OwnDescriptor]()
                for one in _descriptors_of(self._file) - known:
                    with suppress(OSError):  # another thread has read the file, and closed it
                        copies.append(own(one))
        mapping = _Mapping(memory, self._size, copies)
        self._mappings.append(mapping)
        self._size += length
        return mapping

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file again if the program has closed all descriptors."""
        if self._lock.is_open:
            yield self._lock.number
            return
        with closing(OwnDescriptor.open(self.path, os.O_RDWR)) as opened:
            if _identity(os.fstat(opened.number)) != self._file:
                raise FileNotFoundError(f"{str(self.path)!r} is another file: restart the process")
            yield opened.number

    def _release(self) -> None:
        self._lock.close()
        for mapping in self._mappings:
            if mapping.is_own:
                mapping.memory.close()
            else:
                _kept.append(mapping.memory)

    def _renew(self) -> None:
        _kept.extend(mapping.memory for mapping in self._mappings if not mapping.is_own)


class _Mapping(NamedTuple):
    """A part of the file in memory, and the descriptors that the mapping keeps of it."""

    memory: mmap
    start: int
    copies: list[OwnDescriptor]

    @property
    def is_own(self) -> bool:
        """False if the program has closed the descriptors: then unmapping would close other files."""
        return all(copy.is_open for copy in self.copies)


def _allocate(number: int, start: int, length: int) -> None:
    """Allocate room on the disk. A full disk raises OSError here; in a mapping, it would be a SIGBUS."""
    if hasattr(os, "posix_fallocate"):  # pragma: no branch (all but macOS)
        os.posix_fallocate(number, start, length)
    elif os.pwrite(number, bytes(length), start) < length:  # pragma: no cover
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _descriptors_of(file: tuple[int, int]) -> set[int]:
    """Return all open descriptors of a file: the only way to find those that mmap makes."""
    found = set()
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            if _identity(os.fstat(int(path.name))) == file:
                found.add(int(path.name))
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
