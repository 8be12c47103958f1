"""The cells that metrics are counted in: numbers of this process, and copies of them in a file that others read.

The unit of change is a block: a few cells that change together, such as those of all that one operation's end counts.
The file has two copies of each block. A change writes the older copy, and its version last. So one copy is whole at any
moment, and a reader never sees half of a change, even of a process that was killed in the middle of it.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Sequence
from functools import cache
from mmap import mmap
from operator import add
from typing import TYPE_CHECKING

from encore_events.forks import renew_in_child
from encore_events.loggers import get_logger
from encore_events.once import Once

if TYPE_CHECKING:
    from encore_storage.processes.cell_files import CellFile

logger = get_logger("encore_storage")

Key = tuple[str, ...]
"""The name of a block. The first item has the rule by which each of its cells is merged (see `merging`)."""

CELL = 8  # bytes


class Block:
    """A few cells that change together.

    A change is made under the lock of its `Cells`. A hot path writes it out: it changes `values` without calling
    anything, since a finalizer may change the same block inside any call. If there is a `memory`, it raises `version`,
    and packs both into the older copy.

    Attributes:
        key: what it counts.
        values: the value of each cell.
        version: the number of changes in `memory`.
        memory: the mapped file, or None while nobody else reads the block.
        offsets: the offsets of the two copies, by the parity of the version.
        pack_into: packs values and version into a memory, at an offset.
        measure: returns the values, if they are worked out when somebody reads them.
    """

    __slots__ = ("key", "measure", "memory", "offsets", "pack_into", "values", "version")

    def __init__(self, key: Key) -> None:
        size = len(key[0])
        self.key = key
        self.values: list[float] = [0] * size
        self.version = 0
        self.memory: mmap | None = None
        self.offsets = 0, 0
        self.pack_into = _packer(size)
        self.measure: Callable[[], Sequence[float]] | None = None

    def __repr__(self) -> str:
        return f"<Block {self.key}: {self.values}>"

    def add(self, *amounts: float) -> None:
        """Add to the cells, and publish them. The caller holds the lock."""
        self.values[:] = map(add, self.values, amounts)  # as one change: no Python code runs between its parts
        self.publish()

    def set(self, *values: float) -> None:
        """Replace the values, and publish them. The caller holds the lock."""
        self.values[:] = values
        self.publish()

    def publish(self) -> None:
        """Write the values to the older copy, if there is one. The caller holds the lock."""
        if self.memory is not None:
            self.version = version = self.version + 1
            self.pack_into(self.memory, self.offsets[version & 1], *self.values, version)

    def place(self, memory: mmap, offset: int) -> None:
        """Copy all changes to `memory`, from `offset` on. The caller holds the lock."""
        self.memory, self.offsets = memory, (offset, offset + length_of(self.key) // 2)
        self.current()
        self.publish()

    def current(self) -> list[float]:
        """Return the values as of now. The caller holds the lock."""
        if self.measure is not None:
            self.values[:] = self.measure()
        return self.values


class Cells:
    """The blocks of this process, by their keys. A forked child drops all of them and inherits no count.

    Args:
        on_renewed: called once in a forked child, without the lock, before it makes its first block.

    Attributes:
        lock: must be held while a block changes. It is reentrant, since finalizers may count in the middle of a change.
        file: the file that other processes read, or None while the memory is private.
    """

    def __init__(self, on_renewed: Callable[[], object] | None = None) -> None:
        self.lock = threading.RLock()
        self.file: CellFile | None = None
        self._on_renewed = on_renewed
        self._renewed: Once | None = None
        self._blocks: dict[Key, Block] = {}
        self._waiting: list[Block] = []
        self._is_placing = False
        self._troubles: list[OSError] = []
        renew_in_child(self, Cells._renew)

    def __repr__(self) -> str:
        place = "private memory" if self.file is None else repr(self.file)
        return f"<Cells: {len(self._blocks)} blocks in {place}>"

    def block(self, key: Key) -> Block:
        """Return the block of `key`. The first call makes it, with all cells at zero."""
        if (found := self._blocks.get(key)) is not None:
            return found
        if self._renewed is not None and self._on_renewed is not None and self._renewed.take():
            self._on_renewed()
        with self.lock:
            made = Block(key)
            block = self._blocks.setdefault(key, made)  # a finalizer may have made it inside of any call before
            if block is made and self.file is not None:
                self._place([block])
        self._report()
        return block

    def add(self, key: Key, *amounts: float) -> None:
        """Add to the cells of the block of `key`, as one change."""
        block = self.block(key)
        with self.lock:
            block.add(*amounts)

    def set(self, key: Key, *values: float) -> None:
        """Replace the values of the block of `key`, as one change."""
        block = self.block(key)
        with self.lock:
            block.set(*values)

    def values(self) -> dict[Key, list[float]]:
        """Return a copy of all values."""
        copied = {}
        for key, block in list(self._blocks.items()):
            with self.lock:  # for each block, so that the program never waits for all of them
                copied[key] = block.current().copy()
        self._report()
        return copied

    def move_to(self, file: CellFile) -> None:
        """Move all blocks to `file`, and make later ones in it.

        A block for which the file cannot grow stays in private memory until `place_rest()`. The first one is logged.
        """
        with self.lock:
            left, self.file = self.file, file
            self._waiting.clear()
            self._place(list(self._blocks.values()))
        if left is not None:
            left.remove()
        self._report()

    def place_rest(self) -> None:
        """Place the blocks for which the file could not grow before, until it cannot grow again."""
        with self.lock:
            file = self.file
            if file is None or not file.is_full:
                return
            for block in list(self._blocks.values()):
                if block.memory is None:
                    self._place([block])
                    if block.memory is None:
                        return
            file.is_full = False

    def close(self) -> None:
        """Close the file, whose counts remain for the other processes, and continue in private memory."""
        with self.lock:
            left, self.file = self.file, None
            self._waiting.clear()
            for block in self._blocks.values():
                block.memory = None
        if left is not None:
            left.close()

    def _place(self, blocks: list[Block]) -> None:
        """Place the blocks in the file. A finalizer in the middle of it may make more; they wait until it is done."""
        self._waiting += blocks
        if self._is_placing:
            return
        self._is_placing = True
        try:
            while self._waiting and self.file is not None:
                self._place_one(self._waiting[0], self.file)
                self._waiting.pop(0)
        finally:
            self._is_placing = False

    def _place_one(self, block: Block, file: CellFile) -> None:
        try:
            memory, offset = file.reserve(block.key)
        except OSError as error:
            if not file.is_full:
                file.is_full = True
                self._troubles.append(error)
            block.memory = None
            return
        block.place(memory, offset)
        file.commit()

    def _report(self) -> None:
        """Log troubles once the lock is released: a logging handler may wait for a thread that counts."""
        while self._troubles and not self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 (see threading.Condition)
            with contextlib.suppress(IndexError):  # another thread was faster
                error = self._troubles.pop()
                logger.warning("some counts are missing in the metrics of the other processes: %s", error)

    def _renew(self) -> object:
        """Drop everything in a forked child. The parent's file is out of reach, also of what was just being counted."""
        inherited = self._blocks, self._waiting, self.file
        for block in self._blocks.values():
            block.memory = None
        self.lock = threading.RLock()
        self.file = None
        self._blocks, self._waiting, self._is_placing, self._troubles = {}, [], False, []
        self._renewed = Once()
        return inherited


def length_of(key: Key) -> int:
    """Return the number of bytes of a block: two copies of its cells and a version."""
    return 2 * CELL * (len(key[0]) + 1)


@cache
def _packer(size: int) -> Callable[..., None]:
    return struct.Struct(f"{size + 1}d").pack_into
