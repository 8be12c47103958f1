"""The processes that may start other members of a group: as long as one of them runs, the counts are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.processes import liveness, parent
from encore_storage.processes.directory import GroupDirectory, sweep
from tests.forking import run_forking

BEGIN = """
import os, sys
from pathlib import Path
from encore_storage.processes.directory import GroupDirectory, sweep
from encore_storage.processes.parent import program_parents
from tests.forking import *
base = Path(sys.argv[1])
counts = base / "k" / "counts"

def member(work=lambda: None):
    group = GroupDirectory.join(base, "k")
    work()
    group.leave()

def names():
    return sorted(path.name for path in counts.parent.iterdir() if path.name.startswith("parent"))

def name(pid):
    return next(one for one in names() if one.startswith(f"parent-{pid}-"))
"""


def test_counts_are_kept_for_a_parent_whose_child_has_children(tmp_path: Path) -> None:
    printed = run_forking(
        f"""{BEGIN}
def work():
    counts.touch()
    return forked(member)  # the worker is another parent, which is recorded last

print(forked(lambda: member(work)), counts.exists())
print(forked(lambda: member(lambda: None)), counts.exists())  # the next worker
sweep(base)
print(counts.exists())
member()
print(list(base.iterdir()))
""",
        tmp_path,
    )

    assert printed == ["None True", "None True", "True", "[]"]


def test_counts_are_kept_for_a_parent_whose_grandchildren_alone_are_members(tmp_path: Path) -> None:
    printed = run_forking(
        f"""{BEGIN}
print(forked(lambda: forked(lambda: member(counts.touch))), counts.exists())
""",
        tmp_path,
    )

    assert printed == ["'None' True"]


def test_counts_are_kept_for_a_parent_that_joins_after_its_children(tmp_path: Path) -> None:
    printed = run_forking(
        f"""{BEGIN}
print(forked(lambda: member(counts.touch)))
member(lambda: print(counts.exists()))
print(list(base.iterdir()))
""",
        tmp_path,
    )

    assert printed == ["None", "True", "[]"]


def test_parents_that_have_ended_are_forgotten(tmp_path: Path) -> None:
    printed = run_forking(
        f"""{BEGIN}
def work():
    forked(member)
    return len(names())

print(forked(lambda: member(lambda: print(work(), flush=True))))
print(len(names()), names() == [name(os.getpid())], forked(member), names() == [name(os.getpid())])
""",
        tmp_path,
    )

    assert printed == ["2", "None", "2 False None True"]


def test_program_started_by_another_one_has_no_parents() -> None:
    program = "from encore_storage.processes.parent import program_parents; print(program_parents())"

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_reused_process_id_is_no_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parent-1-1").touch()

    assert parent.running_parents(tmp_path) == set()
    monkeypatch.setattr(parent, "start_time", lambda _: 1)
    assert parent.running_parents(tmp_path) == {1}


def refuse(*_: object) -> None:
    raise OSError("the disk is full")


def test_group_whose_parents_cannot_be_recorded_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encore_storage.processes.directory.record_parents", refuse)

    GroupDirectory.join(tmp_path, "k").leave()

    assert list(tmp_path.iterdir()) == []


def test_group_that_cannot_be_joined_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encore_storage.processes.directory._join", refuse)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match="the disk is full"):
        GroupDirectory.join(tmp_path, "k")

    assert set(Path("/proc/self/fd").iterdir()) == before
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_process_that_has_ended_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert liveness.status_of(process.pid) is None
    assert liveness.start_time(process.pid) == 0
