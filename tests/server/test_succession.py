"""The file with the process that serves a group."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore_storage.processes.info import ProcessInfo
from encore_storage.server.succession import Serving

WORKER = ProcessInfo(7, "worker.py", 100.0)


@pytest.mark.parametrize("process", [WORKER, None])
def test_file_has_what_was_written_last(tmp_path: Path, process: ProcessInfo | None) -> None:
    Serving(WORKER, ("first",)).write(tmp_path / "serving")
    Serving(process, ("first", "second")).write(tmp_path / "serving")

    assert Serving.read(tmp_path / "serving") == (process, ("first", "second"))
    assert len(list(tmp_path.iterdir())) == 1


def test_oldest_runs_are_forgotten(tmp_path: Path) -> None:
    Serving(WORKER, tuple(map(str, range(1000)))).write(tmp_path / "serving")

    assert Serving.read(tmp_path / "serving").runs[::99] == ("900", "999")


@pytest.mark.parametrize(
    "text", [None, "", "7", "[]", '[["x", "y", "z"], []]', "[[1, 2], []]", "[null, 7]", "[" * 100_000, '{"a": 1}']
)
def test_file_that_cannot_be_read_names_nobody(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "serving").write_text(text)

    assert Serving.read(tmp_path / "serving") == (None, ())


def test_file_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    Serving(WORKER, ()).write(tmp_path / "missing" / "serving")

    assert list(tmp_path.iterdir()) == []
