"""Lines about cells that cannot be shared, logged by the program's own handlers."""

from __future__ import annotations

import errno
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encore_storage.processes import cell_files
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cell_format import CHUNK
from encore_storage.processes.cells import Cells, Key
from encore_storage.processes.sender import Sender
from encore_storage.subscribers.metrics import MetricsCollector
from tests.processes.cell_support import PAIR
from tests.processes.link_support import PROCESS
from tests.storage.support import LONG
from tests.subscribers.support import SmallGroup

LARGE: Key = ("+", "x" * CHUNK)
"""The key of a block for which a file has to grow."""


class Asking(logging.Handler):
    """A handler that waits for another thread which does what an observed store, or a monitor, may do.

    Attributes:
        is_answered: for each line, whether that thread has come to its end.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(logging.DEBUG)
        self.work = work
        self.is_answered = list[bool]()

    def emit(self, record: logging.LogRecord) -> None:
        thread = threading.Thread(target=self.work, daemon=True)
        thread.start()
        thread.join(LONG)
        self.is_answered.append(not thread.is_alive())


@pytest.fixture
def asking() -> Iterator[Callable[[Callable[[], object]], Asking]]:
    logger, added = logging.getLogger("encore_storage"), list[Asking]()
    level = logger.level

    def add(work: Callable[[], object]) -> Asking:
        added.append(Asking(work))
        logger.addHandler(added[-1])
        logger.setLevel(logging.DEBUG)
        return added[-1]

    yield add
    logger.setLevel(level)
    for each in added:
        logger.removeHandler(each)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the disk full."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(cell_files, "_allocate", fail)


def test_handler_may_count_when_a_new_block_is_not_shared(
    cells: Cells, full: Callable[[], None], asking: Callable[[Callable[[], object]], Asking]
) -> None:
    handler = asking(lambda: cells.add(PAIR, 1, 2))
    full()

    cells.add(LARGE, 1)

    assert handler.is_answered == [True]
    assert cells.values() == {LARGE: [1], PAIR: [1, 2]}


def test_handler_may_count_when_moved_blocks_are_not_shared(
    directory: CellDirectory, full: Callable[[], None], asking: Callable[[Callable[[], object]], Asking]
) -> None:
    cells, file = Cells(), directory.create()
    cells.add(LARGE, 1)
    handler = asking(lambda: cells.add(PAIR, 1, 2))
    full()

    cells.move_to(file)

    assert handler.is_answered == [True]
    cells.close()


def test_block_made_in_the_middle_of_a_change_is_reported_after_it(
    cells: Cells, full: Callable[[], None], asking: Callable[[Callable[[], object]], Asking]
) -> None:
    handler = asking(lambda: cells.add(PAIR, 1, 2))

    class Counts:
        def __del__(self) -> None:
            cells.add(LARGE, 1)

    cyclic = Counts()
    cyclic.self = cyclic  # type: ignore[attr-defined]
    del cyclic
    full()
    with cells.lock:
        gc.collect()
        assert handler.is_answered == []
    cells.values()

    assert handler.is_answered == [True]


def test_handler_may_connect_metrics_while_others_join_a_group(
    directory: CellDirectory, full: Callable[[], None], asking: Callable[[Callable[[], object]], Asking]
) -> None:
    collector, group = MetricsCollector(200, lambda: 0.0, lambda: 0.0), SmallGroup("shop", directory)
    handler = asking(lambda: collector.join_group(group))
    full()

    collector.join_group(group)

    assert handler.is_answered == [True]
    assert collector.group is group


def test_group_left_while_it_is_joined_keeps_no_file(directory: CellDirectory) -> None:
    collector = MetricsCollector(200, lambda: 0.0, lambda: 0.0)
    group = SmallGroup("shop", directory)
    create = directory.create

    def create_late() -> cell_files.CellFile:
        collector.leave_group(group)
        return create()

    directory.create = create_late  # type: ignore[method-assign]  # the moment at which another thread leaves

    collector.join_group(group)

    assert collector.group is None
    assert collector.cells.file is None


def test_handler_may_connect_a_sender_that_cannot_connect(
    tmp_path: Path, asking: Callable[[Callable[[], object]], Asking]
) -> None:
    sender = Sender(tmp_path / "nobody", PROCESS)

    def connect() -> None:
        logging.getLogger("encore_storage").removeHandler(handler)
        sender.connect()

    handler = asking(connect)

    assert not sender.connect()
    assert handler.is_answered == [True]
