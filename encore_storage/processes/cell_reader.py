"""The reader of the files of cells in a directory."""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from math import isnan
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

from encore_events.loggers import get_logger
from encore_storage.processes.cell_format import CHUNK, START, Header, Layout, read_header, read_layout
from encore_storage.processes.cells import Key
from encore_storage.processes.liveness import is_running
from encore_storage.processes.merging import Blocks

logger = get_logger("encore_storage")

NAME = re.compile(r"(\d+)-[0-9a-f]+\.cells")
_UNFINISHED = re.compile(r"\d+-[0-9a-f]+\.new")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RETRIES = 100  # of a block that changes more often than it can be read


class Found(NamedTuple):
    """The content of a file.

    Attributes:
        name: the name of the file.
        header: its header.
        is_running: whether its process runs and has not closed it.
        blocks: the values of its blocks.
    """

    name: str
    header: Header
    is_running: bool
    blocks: Blocks


class CellReader:
    """Reads the files of a directory, and remembers the keys in them.

    A file that cannot be read is left out, and logged once.

    Attributes:
        unreadable: the names of the files that the last reading could not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._layouts: dict[str, Layout] = {}
        self._keys: dict[bytes, Key] = {}
        self.unreadable: frozenset[str] = frozenset()
        self._spoilt: frozenset[str] = frozenset()

    def read(self, without: Collection[str]) -> list[Found]:
        """Return the content of all readable files, except those whose names are in `without`."""
        found, layouts, broken, spoilt = list[Found](), dict[str, Layout](), set[str](), set[str]()
        for name in self.names():
            if name in without:
                continue
            try:
                one, layouts[name] = self._read_file(name)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, struct.error, RecursionError) as error:
                broken.add(name)
                if not isinstance(error, OSError):  # else it may be readable later
                    spoilt.add(name)
                if name not in self.unreadable:
                    path = str(self._path / name)
                    logger.warning("cannot read the metrics in %r: %s; they are missing in the sums", path, error)
                continue
            found.append(one)
        self._layouts, self.unreadable, self._spoilt = layouts, frozenset(broken), frozenset(spoilt)
        if len(self._keys) > 2 * sum(len(layout.places) for layout in layouts.values()) + 100:
            self._keys = {}  # most of them are of processes that have ended
        return found

    def names(self) -> list[str]:
        """Return the names of all files of cells."""
        with suppress(OSError):
            return sorted(path.name for path in self._path.iterdir() if NAME.fullmatch(path.name))
        return []

    def ended(self) -> int:
        """Return the number of files whose processes have ended."""
        return sum(map(self._has_ended, self.names()))

    def sweep(self) -> None:
        """Remove what killed processes left behind: files that cannot be read, and unfinished ones."""
        with suppress(OSError):
            for path in list(self._path.iterdir()):
                if path.name in self._spoilt or _UNFINISHED.fullmatch(path.name):
                    _remove_if_left(path)

    def _has_ended(self, name: str) -> bool:
        with suppress(OSError):
            descriptor = os.open(self._path / name, _FLAGS)
            try:
                return not is_running(descriptor, int(name.partition("-")[0]))
            finally:
                os.close(descriptor)
        return False

    def _read_file(self, name: str) -> tuple[Found, Layout]:
        descriptor = os.open(self._path / name, _FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is no regular file")
            header, _ = _read_header(descriptor)
            # First of all: what a process does between its reading and this question would be lost with its file.
            is_living = not header.is_closed and is_running(descriptor, header.pid, header.started, header.namespace)
            header, size = _read_header(descriptor)
            with closing(mmap(descriptor, size, access=ACCESS_READ)) as memory, memoryview(memory) as data:
                layout = read_layout(data, header.used, self._layouts.get(name, Layout()), self._keys)
                with data.cast("d") as cells:
                    blocks = {key: _read_block(cells, index, len(key[0])) for key, index in layout.places}
        finally:
            os.close(descriptor)
        return Found(name, header, is_living, blocks), layout


def _read_header(descriptor: int) -> tuple[Header, int]:
    """Return the header of a file and the size of its chunks, which may only have grown since."""
    data = os.pread(descriptor, START, 0)
    size = os.fstat(descriptor).st_size
    size -= size % CHUNK
    return read_header(data, size), size


def _read_block(cells: memoryview[float], index: int, size: int) -> Sequence[float]:
    """Return the values of a block, from the copy with the higher version, which is whole."""
    first, second = index + size, index + 2 * size + 1
    for _ in range(_RETRIES):
        one, other = cells[first], cells[second]
        end = first if one > other else second
        values = cells[end - size : end].tolist()
        if cells[first] == one and cells[second] == other:  # no change has ended, so none has begun in this copy
            break
    if isnan(sum(values)):
        raise ValueError("it contains what is no number")
    return values


def _remove_if_left(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, _FLAGS)
        try:
            if not is_running(descriptor, int(path.name.partition("-")[0])):
                path.unlink()
        finally:
            os.close(descriptor)
