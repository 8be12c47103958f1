"""Fixtures of the tests of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from tests.processes.cell_support import counting


@pytest.fixture
def directory(tmp_path: Path) -> CellDirectory:
    path = tmp_path / "cells"
    path.mkdir(0o700)
    return CellDirectory(path)


@pytest.fixture
def cells(directory: CellDirectory) -> Iterator[Cells]:
    """Yield cells in a file of the directory."""
    cells = counting(directory)
    yield cells
    cells.close()
