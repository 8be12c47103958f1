"""The file of the sums of the processes that have ended."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
def opened(directory: Path) -> Iterator[Ended]:
    """Open the sums of a directory; without the file, or with a broken one, they are empty.

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
        blocks, folded = dict[Key, list[float]](), frozenset[str]()
        try:
            with open(descriptor, "rb", closefd=False) as file:
                blocks, folded = _decoded(file.read())
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            logger.warning(
                "cannot read the metrics of ended processes in %r: %s; they count from zero", str(path), error
            )
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


def _decoded(data: bytes) -> tuple[dict[Key, list[float]], frozenset[str]]:
    content = json.loads(data)
    if content["version"] != VERSION:
        raise ValueError(f"it has version {content['version']!r} of the format, not {VERSION}")
    blocks = {tuple(map(str, key)): list(map(float, values)) for key, values in content["blocks"]}
    if not all(key and len(key[0]) == len(values) for key, values in blocks.items()):
        raise ValueError("its blocks are broken")
    return blocks, frozenset(content["folded"])
