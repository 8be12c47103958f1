"""The file of the sums of the processes that have ended."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path

from encore_events.loggers import get_logger
from encore_storage.processes.cells import Key
from encore_storage.processes.merging import Blocks

logger = get_logger("encore_storage")

NAME = "ended.json"
VERSION = 1

_LACKS = frozenset({errno.EMFILE, errno.ENFILE})  # of file descriptors


class Ended:
    """The sums, as they were when the file was opened.

    Attributes:
        blocks: the sums.
        folded: the names of the files in the sums; a process may have been killed before it removed them.
    """

    def __init__(self, path: Path, descriptor: int | None, blocks: Blocks, folded: frozenset[str]) -> None:
        self.blocks = blocks
        self.folded = folded
        self._path = path
        self._descriptor = descriptor

    def is_latest(self) -> bool:
        """Return whether the file has not been replaced since. While it is open, no other file is mistaken for it."""
        try:
            found = self._path.stat()
        except OSError:
            return self._descriptor is None
        return self._descriptor is not None and os.path.samestat(found, os.fstat(self._descriptor))


@contextmanager
def opened(directory: Path, reported: set[str]) -> Iterator[Ended]:
    """Open the sums of a directory; without the file, or with a broken one, they are empty. Broken blocks are left out.

    Args:
        directory: the directory.
        reported: the trouble that was logged last, and is not logged again.

    Raises:
        OSError: there are no more file descriptors.
    """
    path = directory / NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _LACKS:
            raise  # the sums are there
        yield Ended(path, None, {}, frozenset())
        return
    try:
        blocks, folded, trouble = dict[Key, list[float]](), frozenset[str](), ""
        try:
            with open(descriptor, "rb", closefd=False) as file:
                blocks, folded, broken = _decoded(file.read())
            if broken:
                trouble = f"{broken} of its blocks are broken; they are missing in the sums"
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            trouble = f"{error}; they count from zero"
        _report(path, trouble, reported)
        yield Ended(path, descriptor, blocks, folded)
    finally:
        os.close(descriptor)


def write(directory: Path, blocks: Blocks, folded: Iterable[str]) -> None:
    """Replace the file as one change. Raises OSError."""
    path, made = directory / NAME, directory / f"{NAME}.new"
    made.unlink(missing_ok=True)
    content = {
        "version": VERSION,
        "folded": sorted(folded),
        "blocks": [[key, values] for key, values in blocks.items()],
    }
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 (it is open)
        json.dump(content, file)
    made.replace(path)


def _report(path: Path, trouble: str, reported: set[str]) -> None:
    if trouble not in reported:
        reported.clear()
        if trouble:
            reported.add(trouble)
            logger.warning("cannot read the metrics of ended processes in %r: %s", str(path), trouble)


def _decoded(data: bytes) -> tuple[dict[Key, list[float]], frozenset[str], int]:
    """Return the blocks, the names of the files in them, and the number of broken blocks."""
    content = json.loads(data)
    if content["version"] != VERSION:
        raise ValueError(f"it has version {content['version']!r} of the format, not {VERSION}")
    blocks, broken = dict[Key, list[float]](), 0
    for item in content["blocks"]:
        try:
            key, values = _block(*item)
            blocks[key] = values
        except (ValueError, TypeError, OverflowError):
            broken += 1
    return blocks, frozenset(name for name in content["folded"] if isinstance(name, str)), broken


def _block(key: list[str], values: list[float]) -> tuple[Key, list[float]]:
    """Return a block. Raises ValueError, TypeError or OverflowError if it is broken."""
    if not key or not all(isinstance(item, str) for item in key) or len(key[0]) != len(values):
        raise ValueError("it is no block")
    numbers = list(map(float, values))
    if isnan(sum(numbers)):
        raise ValueError("it contains what is no number")
    return tuple(key), numbers
