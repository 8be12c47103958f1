"""The gauge of items in progress, in private memory and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from encore_storage.subscribers.gauges import InProgressGauge

KEY = "~<", "items"


class Deed:
    """An id that does something when it is hashed."""

    def __init__(self, deed: object) -> None:
        self.deed = deed

    def __hash__(self) -> int:
        deed, self.deed = self.deed, None
        if callable(deed):
            deed()
        return 1


@pytest.fixture
def directory(tmp_path: Path) -> CellDirectory:
    return CellDirectory(tmp_path)


@pytest.fixture
def cells() -> Cells:
    return Cells()


@pytest.fixture
def gauge(cells: Cells) -> InProgressGauge:
    gauge = InProgressGauge(cells, cells.block(KEY))
    gauge.fill()
    return gauge


def end(cells: Cells, gauge: InProgressGauge, id: object) -> None:  # noqa: A002 (the name that events use)
    with cells.lock:
        assert gauge.end(id)


def test_gauge_has_the_number_of_items_and_the_start_of_the_oldest(cells: Cells, gauge: InProgressGauge) -> None:
    assert cells.values() == {KEY: [0, 0]}

    for number in (1, 2, 3):
        gauge.start(str(number), number / 2)
    gauge.start("1", 9.0)
    end(cells, gauge, "1")

    assert cells.values() == {KEY: [2, 1.0]}


def test_gauge_keeps_its_items_when_it_moves_to_a_file(
    cells: Cells, gauge: InProgressGauge, directory: CellDirectory
) -> None:
    gauge.start("1", 1.0)
    gauge.start("2", 2.0)
    cells.move_to(directory.create())
    assert directory.read().totals() == {KEY: [2, 1.0]}

    end(cells, gauge, "1")
    gauge.start("3", 3.0)
    assert directory.read().totals() == cells.values() == {KEY: [2, 2.0]}

    cells.close()
    end(cells, gauge, "2")
    assert cells.values() == {KEY: [1, 3.0]}


def test_item_that_starts_while_the_gauge_moves_is_in_the_file(
    cells: Cells, gauge: InProgressGauge, directory: CellDirectory
) -> None:
    gauge.start(Deed(lambda: cells.move_to(directory.create())), 1.0)

    assert directory.read().totals() == {KEY: [1, 1.0]}


def test_item_that_starts_while_another_is_published_is_in_the_file(
    cells: Cells, gauge: InProgressGauge, directory: CellDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells.move_to(directory.create())
    plain, inner = InProgressGauge._measure, ["2", "3"]

    def measure(gauge: InProgressGauge) -> tuple[int, float]:
        measured = plain(gauge)
        if inner:
            gauge.start(inner.pop(), 2.0)  # as a signal handler or finalizer may
        return measured

    monkeypatch.setattr(InProgressGauge, "_measure", measure)
    gauge.start("1", 1.0)

    assert directory.read().totals() == {KEY: [3, 1.0]}
