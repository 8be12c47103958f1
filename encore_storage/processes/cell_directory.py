"""The directory of a group's cells: one file for each process, and one for the sums of those that have ended."""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from encore_storage.processes import ended
from encore_storage.processes.cell_files import CellFile
from encore_storage.processes.cell_reader import NAME, CellReader, Found
from encore_storage.processes.cells import Cells
from encore_storage.processes.descriptors import OwnDescriptor
from encore_storage.processes.liveness import start_time
from encore_storage.processes.merging import Blocks, is_live, merge

Reduce = Callable[[Blocks], Blocks]
"""Returns the sums of ended processes without what need not be kept."""

_MANY = 20  # files of ended processes, after which a reading adds them to their sums
_RETRIES = 100  # of a reading during which processes ended
_MOST_VANISHED = 200  # processes that are kept for a caller of `fold`


class Member(NamedTuple):
    """A process that counts.

    Attributes:
        pid: its process id.
        started: its start time, see `liveness.start_time`.
        blocks: the values of its blocks.
    """

    pid: int
    started: int
    blocks: Blocks


class Reading(NamedTuple):
    """The counts of a group.

    Attributes:
        ended: the sums of the processes that have ended.
        members: the processes that live.
    """

    ended: Blocks
    members: tuple[Member, ...]

    @property
    def processes(self) -> int:
        """The number of living processes."""
        return len({(member.pid, member.started) for member in self.members})

    def totals(self) -> Blocks:
        """Return the sums of all processes."""
        return merge((self.ended, *(member.blocks for member in self.members)))


class CellGroup(Protocol):
    """A group of processes, as far as its metrics are concerned."""

    @property
    def name(self) -> str:
        """The name of the group."""

    @property
    def cells(self) -> CellDirectory | None:
        """The cells of the group, or None if its processes cannot share any."""


class CellDirectory:
    """The cells of a group of processes.

    Args:
        path: the directory. It exists, and only the user of the processes can write to it.
        reduce: reduces the sums of ended processes.
    """

    def __init__(self, path: Path, *, reduce: Reduce | None = None) -> None:
        self.path = path
        self._reader = CellReader(path)
        self._reduce = reduce
        self._vanished = deque[Member](maxlen=_MOST_VANISHED)
        self._reported = set[str]()  # of the sums

    def __repr__(self) -> str:
        return f"<CellDirectory {str(self.path)!r}>"

    @property
    def unreadable(self) -> int:
        """The number of files that the last reading could not read."""
        return len(self._reader.unreadable)

    def create(self) -> CellFile:
        """Make a file for the cells of this process. Raises OSError."""
        return CellFile.create(self.path)

    def read(self, *own: Cells) -> Reading:
        """Return the counts of all processes. A file that cannot be read is left out, and logged once.

        Args:
            own: the cells of this process. They are read from memory instead of their files.
        """
        own_files = _files_of(own)
        for _ in range(_RETRIES):
            with self._sums() as sums:
                found = self._reader.read(sums.folded | own_files)
                if sums.is_latest():  # or processes may have been folded between its reading and that of their files
                    break
        own_files = _files_of(own)  # another thread may have moved the cells
        found = [one for one in found if one.name not in own_files]
        ended_now = [one for one in found if not one.is_running]
        gone = merge([sums.blocks, *map(_kept, ended_now)])
        if len(ended_now) >= _MANY:
            with suppress(OSError):  # the disk is full: the files stay
                self._fold_alone()
        members = (Member(one.header.pid, one.header.started, one.blocks) for one in found if one.is_running)
        return Reading(gone, (*own_members(*own), *members))

    def fold(self) -> list[Member]:
        """Add the processes that have ended to the file of their sums, and remove their files.

        A kill at any moment neither loses counts nor counts them twice. Another process that folds meanwhile is left to
        it. Raises OSError if the file cannot be written; then nothing has changed.

        Returns:
            the processes that ended without closing their files, those found by a reading since the last call included.
        """
        self._fold_alone()
        vanished = list[Member]()
        with suppress(IndexError):  # another thread may add some meanwhile
            while True:
                vanished.append(self._vanished.popleft())
        return vanished

    def fold_many(self) -> None:
        """Add the processes that have ended to their sums if they are many, for groups that are seldom read."""
        with suppress(OSError):  # as above
            if len(self._reader.names()) >= _MANY and self._reader.ended() >= _MANY:
                self._fold_alone()

    @contextmanager
    def _sums(self) -> Iterator[ended.Ended]:
        """Open the sums of the processes that have ended, empty if there are no more file descriptors."""
        with ExitStack() as stack:
            try:
                sums = stack.enter_context(ended.opened(self.path, self._reported))
            except OSError:
                sums = ended.Ended(self.path / ended.NAME, None, {}, frozenset())
            yield sums

    def _fold_alone(self) -> None:
        with self._folding() as is_allowed:
            if is_allowed:
                self._vanished += self._fold()

    def _fold(self) -> list[Member]:
        with ended.opened(self.path, self._reported) as sums:
            found = [one for one in self._reader.read(sums.folded) if not one.is_running]
            left = {name for name in sums.folded if NAME.fullmatch(name) and os.path.lexists(self.path / name)}
        if found:
            blocks = merge([sums.blocks, *map(_kept, found)])
            blocks = blocks if self._reduce is None else self._reduce(blocks)
            left |= {one.name for one in found}
            ended.write(self.path, blocks, left)
        for name in left:
            (self.path / name).unlink(missing_ok=True)
        self._reader.sweep()
        return [Member(one.header.pid, one.header.started, one.blocks) for one in found if not one.header.is_closed]

    @contextmanager
    def _folding(self) -> Iterator[bool]:
        """Lock the directory against other processes that fold, and yield whether this one may."""
        with closing(OwnDescriptor.open(self.path / "folding.lock", os.O_RDWR | os.O_CREAT)) as lock:
            try:
                fcntl.flock(lock.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _files_of(own: Iterable[Cells]) -> set[str]:
    """Return the names of the files of cells."""
    return {cells.file.path.name for cells in own if cells.file is not None}


def own_members(*own: Cells) -> tuple[Member, ...]:
    """Return this process with its cells, if it has any."""
    if not own:
        return ()
    pid = os.getpid()
    return (Member(pid, _own_start(pid), merge([cells.values() for cells in own])),)


def _kept(found: Found) -> Blocks:
    """Return the blocks that are kept after a process has ended."""
    return {key: values for key, values in found.blocks.items() if not is_live(key)}


@lru_cache(maxsize=1)
def _own_start(pid: int) -> int:
    return start_time(pid)
