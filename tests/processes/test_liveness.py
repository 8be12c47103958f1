"""The test whether the process that owns a file still runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.processes.liveness import is_running, pid_namespace, start_time

OWN = os.getpid()
NOBODY = 2**22 + 1  # more than the highest process id


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file that this process holds a lock on."""
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    reader = os.open(tmp_path / "file", os.O_RDWR)
    fcntl.flock(number, fcntl.LOCK_EX)
    yield reader
    os.close(reader)
    os.close(number)


def test_process_that_holds_the_lock_runs(reader: int) -> None:
    assert is_running(reader, OWN, start_time(OWN), pid_namespace())


@pytest.mark.parametrize(("pid", "started"), [(NOBODY, 5), (OWN, 5)], ids=["no process", "another process"])
def test_process_whose_lock_another_one_holds_has_ended(reader: int, pid: int, started: int) -> None:
    assert not is_running(reader, pid, started, pid_namespace())


def test_process_of_another_namespace_runs_as_long_as_it_holds_the_lock(reader: int) -> None:
    assert is_running(reader, NOBODY, 5, pid_namespace() + 1)
    assert is_running(reader, OWN, 5, pid_namespace() + 1)


def test_process_of_another_namespace_without_the_lock_has_ended(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not is_running(file.fileno(), OWN, start_time(OWN), pid_namespace() + 1)
