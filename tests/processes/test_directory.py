"""The directory of a group: who may enter it, who removes it, and what is left by killed processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.processes.descriptors import OwnDescriptor
from encore_storage.processes.directory import (
    MEMBERS,
    GroupDirectory,
    UntrustedDirectoryError,
    runtime_directory,
    sweep,
)
from tests.forking import run_forking

MEMBER = """
import sys
from pathlib import Path
from encore_storage.processes.directory import GroupDirectory

group = GroupDirectory.join(Path(sys.argv[1]), sys.argv[2])
print(group.path, flush=True)
sys.stdin.read()
group.leave()
"""


@contextlib.contextmanager
def member(base: Path, key: str = "k") -> Iterator[subprocess.Popen[str]]:
    """Run another process that is a member until its stdin is closed."""
    command = [sys.executable, "-c", MEMBER, str(base), key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(base / key)
        yield process
        process.kill()


def test_last_member_removes_the_directory(tmp_path: Path) -> None:
    with member(tmp_path) as other:
        group = GroupDirectory.join(tmp_path, "k")
        (group.path / "file").write_text("x")
        group.leave()
        assert (group.path / "file").exists()

        other.communicate()

    assert list(tmp_path.iterdir()) == []


def test_only_the_last_member_leaves_if_last(tmp_path: Path) -> None:
    with member(tmp_path) as other:
        group = GroupDirectory.join(tmp_path, "k")
        assert not group.leave_if_last()
        other.communicate()
        assert group.path.exists()  # this process is a member again

    assert group.leave_if_last()
    assert list(tmp_path.iterdir()) == []


def test_member_whose_directory_was_removed_is_none(tmp_path: Path) -> None:
    group = GroupDirectory.join(tmp_path, "k")
    other = GroupDirectory(group.path, OwnDescriptor(os.open(group.path / MEMBERS, os.O_RDWR)))
    (group.path / MEMBERS).unlink()

    assert group.leave_if_last()
    assert other.leave_if_last()


def test_leave_twice_does_nothing(tmp_path: Path) -> None:
    group = GroupDirectory.join(tmp_path, "k")

    group.leave()
    group.leave()

    assert list(tmp_path.iterdir()) == []


def test_first_member_removes_what_a_killed_group_left(tmp_path: Path) -> None:
    with member(tmp_path) as killed:
        (tmp_path / "k" / "old").write_text("x")
        killed.kill()
        killed.wait()

    group = GroupDirectory.join(tmp_path, "k")

    assert [path.name for path in group.path.iterdir()] == [MEMBERS]
    group.leave()


def test_later_member_removes_nothing(tmp_path: Path) -> None:
    with member(tmp_path):
        (tmp_path / "k" / "new").write_text("x")
        GroupDirectory.join(tmp_path, "k").leave()

        assert (tmp_path / "k" / "new").exists()


def test_sweep_removes_killed_groups_only(tmp_path: Path) -> None:
    (tmp_path / "made by a process that was killed at once").mkdir()
    with member(tmp_path, "dead") as killed, member(tmp_path, "alive"):
        socket.socket(socket.AF_UNIX).bind(str(tmp_path / "dead" / "socket"))
        killed.kill()
        killed.wait()

        sweep(tmp_path)

        assert [path.name for path in tmp_path.iterdir()] == ["alive"]


def test_stopped_process_that_holds_the_lock_is_an_error_in_time(tmp_path: Path) -> None:
    program = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
    (tmp_path / "k").mkdir(mode=0o700)
    command = [sys.executable, "-c", program, str(tmp_path / "k" / MEMBERS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)

        with pytest.raises(TimeoutError, match="stays locked by another process"):
            GroupDirectory.join(tmp_path, "k")

        holder.kill()


def test_forked_child_does_not_keep_the_group_alive(tmp_path: Path) -> None:
    printed = run_forking(
        """
import os, sys
from pathlib import Path
from encore_storage.processes.directory import GroupDirectory
from tests.forking import *
base = Path(sys.argv[1])
group = GroupDirectory.join(base, "k")
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.close(writing)
    os.read(reading, 1)  # until the parent has left
    os._exit(0)
group.leave()
print(list(base.iterdir()))
os.close(writing)
os.waitpid(child, 0)
""",
        tmp_path,
    )

    assert printed == ["[]"]


def test_many_processes_join_and_leave_at_once(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from encore_storage.processes.directory import GroupDirectory
for _ in range(100):
    group = GroupDirectory.join(Path(sys.argv[1]), "k")
    own = group.path / sys.argv[2]
    own.write_text("x")
    assert own.exists()
    own.unlink()
    group.leave()
"""
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)]) for number in range(6)]

    assert [process.wait() for process in running] == [0] * 6
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


def test_runtime_directory_is_private(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))

    assert runtime_directory() == short / "encore-1"
    assert (short / "encore-1").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("given", ["", "/no/such/directory", "/proc/1\0"])
def test_unusable_xdg_runtime_dir_gives_the_temporary_directory(
    given: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    monkeypatch.setattr(os, "environ", {"XDG_RUNTIME_DIR": given})

    assert runtime_directory() == short / f"encore-{os.geteuid()}-1"


def test_long_path_gives_one_that_a_socket_can_have(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = short / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    assert runtime_directory() == Path(f"/tmp/encore-{os.geteuid()}-1")


def _link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def _open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)


def _of_another_user(path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid():
        pytest.skip("only root can give a directory to another user")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (_link, "is a symbolic link"),
        (Path.touch, "is no directory"),
        (_open_to_others, "can be entered by other users"),
        (_of_another_user, "belongs to another user"),
    ],
)
def test_planted_directory_is_not_trusted(
    plant: object, reason: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    plant(short / "encore-1")  # type: ignore[operator]  # a table of functions

    with pytest.raises(UntrustedDirectoryError, match=f"{reason}: remove it, or set XDG_RUNTIME_DIR"):
        runtime_directory()


@pytest.mark.parametrize("target", [".", "missing"])
def test_planted_link_at_the_group_is_not_followed(target: str, short: Path) -> None:
    (short / "k").symlink_to(target)

    with pytest.raises(UntrustedDirectoryError, match=r"k' is a symbolic link: remove it"):
        GroupDirectory.join(short, "k")


def test_runtime_directory_may_be_below_a_link(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "user").mkdir(mode=0o700)
    (short / "run").symlink_to("user")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "run"))

    assert runtime_directory() == short / "run" / "encore-1"
    assert (short / "user" / "encore-1").is_dir()


def test_planted_link_at_the_lock_is_not_followed(short: Path) -> None:
    (short / "k").mkdir(mode=0o700)
    (short / "k" / MEMBERS).symlink_to(short / "target")

    with pytest.raises(OSError, match="symbolic links"):
        GroupDirectory.join(short, "k")

    assert not (short / "target").exists()
