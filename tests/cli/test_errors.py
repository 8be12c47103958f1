"""Whatever goes wrong is one clear line on stderr, and never a traceback."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.stores import SqliteStore
from tests.cli.conftest import FILES, Encore
from tests.cli.support import Done, command, read, write

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
os.execv(sys.argv[1], sys.argv[1:])
"""
NOBODY = 65534


def one_line(done: Done) -> str:
    """What it says of the trouble."""
    (line,) = done.err.splitlines()
    assert line.startswith("encore: ")
    return line.removeprefix("encore: ")


@pytest.fixture
def place(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, with what is no store, too."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"letter": b"Dear reader, this is no database, however long it may be. " * 100})
    (tmp_path / "circle").symlink_to("circle")
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("CREATE TABLE ledger (amount)")
    assert source.name == "source"
    return tmp_path


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory of somebody who may not do everything, which is who the process acts for meanwhile."""
    folder = Path(tempfile.mkdtemp())
    me = os.geteuid()
    somebody = me or NOBODY
    os.chown(folder, somebody, -1)
    os.seteuid(somebody)
    try:
        yield folder
    finally:
        os.seteuid(me)
        shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("cpoy a b", "No such command 'cpoy'"),
        ("--bogus", "No such option"),
        ("copy", "Missing argument"),
        ("copy source", "Missing argument"),
        ("copy source memory: third", "third"),
        ("copy source memory: --bogus", "No such option"),
        ("copy source memory: --transaction-size 0", "'--transaction-size'"),
        ("copy source memory: --transaction-size many", "'--transaction-size'"),
        ("copy source memory: --port 65536", "'--port'"),
        ("copy source memory: --log-format xml", "'--log-format'"),
        ("demo --port -1", "'--port'"),
        ("copy s3://bucket memory:", "'s3://bucket' is no store: give a directory, sqlite:PATH or memory:"),
        ("copy source sqlite:", "'sqlite:' is no store"),
        ("copy nothing memory:", "no directory 'nothing' to read from"),
        ("copy letter memory:", "no directory 'letter' to read from"),
        ("copy circle memory:", "no directory 'circle' to read from"),
        ("copy sqlite:nothing.db memory:", "no database 'nothing.db' to read from"),
        ("copy sqlite:source memory:", "no database 'source' to read from"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_the_command_cannot_make_sense_of_has_status_2(encore: Encore, arguments: str, words: str) -> None:
    done = encore(*arguments.split())

    assert done.status == 2
    assert words in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("copy sqlite:letter memory:", "store 'source' found no valid database in"),
        ("copy source sqlite:letter", "store 'target' found no valid database in"),
        ("copy sqlite:ledger.db memory:", "belongs to another application"),
        ("copy source sqlite:ledger.db", "belongs to another application"),
        ("copy source sqlite:missing/a.db", "check that the directory exists"),
        ("copy source sqlite:source", "store 'target' cannot open"),
        ("copy source letter", "is not a directory"),
        ("copy source letter/below", "is not a directory"),
        ("copy source circle", "Too many levels of symbolic links"),
        ("copy source sqlite:circle", "store 'target' cannot open"),
        (f"copy source {'x' * 300}", "File name too long"),
        (
            "copy source memory: --log-file missing/log",
            "the log file 'missing/log' cannot be opened: No such file or directory",
        ),
        ("copy source memory: --log-file source", "the log file 'source' cannot be opened: Is a directory"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_goes_wrong_has_status_1(encore: Encore, arguments: str, words: str) -> None:
    done = encore(*arguments.split())

    assert done.status == 1
    assert words in one_line(done)
    assert "have arrived" not in done.out


@pytest.mark.parametrize("arguments", ["copy sqlite:letter memory:", "copy source sqlite:ledger.db"])
def test_what_is_no_database_of_ours_is_left_alone(encore: Encore, place: Path, arguments: str) -> None:
    before = read(place)

    encore(*arguments.split())

    assert read(place) == before


def test_so_it_is_in_a_process_of_its_own(place: Path) -> None:
    assert one_line(command("copy", "source", "s3://bucket", cwd=place)).startswith("'s3://bucket' is no store")
    assert one_line(command("copy", "source", "letter", cwd=place)).endswith("use the path of a directory")


def test_a_port_that_is_taken_is_named(encore: Encore, source: Path, taken: int) -> None:
    done = encore("copy", source, "memory:", "--port", taken)

    assert done.status == 1
    assert f"nothing can be served on port {taken} of '127.0.0.1'" in one_line(done)


def test_a_file_that_may_not_be_read_is_told_and_the_others_arrive(encore: Encore, nobody: Path) -> None:
    write(nobody, FILES)
    (nobody / "b" / "c.txt").chmod(0)

    done = encore("copy", nobody, "memory:")

    assert (done.status, done.last_line) == (1, "3 of 4 keys have arrived, 1 failed")
    assert one_line(done).startswith("'b/c.txt' did not arrive: [Errno 13] Permission denied")


@pytest.mark.parametrize("folder", [".", "b"])
def test_a_directory_that_may_not_be_read_is_told(encore: Encore, nobody: Path, folder: str) -> None:
    write(nobody / "source", FILES)
    (nobody / "source" / folder).chmod(0)

    done = encore("copy", nobody / "source", "memory:")
    (nobody / "source" / folder).chmod(0o755)

    assert done.status == 1
    assert "Permission denied" in one_line(done)


@pytest.mark.parametrize("scheme", ["", "sqlite:"])
def test_a_target_that_may_not_be_written_to_is_told(encore: Encore, nobody: Path, scheme: str) -> None:
    write(nobody / "source", FILES)
    (nobody / "locked").mkdir(mode=0o555)

    done = encore("copy", nobody / "source", f"{scheme}{nobody}/locked/target")

    assert done.status == 1
    assert "Permission denied" in one_line(done) or "unable to open database file" in one_line(done)


@pytest.mark.parametrize(("scheme", "words"), [("", "No space left on device"), ("sqlite:", "has no space left in")])
def test_on_a_full_disk_it_says_what_arrived_and_finishes_once_there_is_room(
    encore: Encore, tmp_path: Path, small_disk: Path, scheme: str, words: str
) -> None:
    files = {f"{number:02}": bytes([number]) * 100_000 for number in range(20)}
    arguments = ["copy", write(tmp_path / "source", files), f"{scheme}{small_disk / 'target'}", "--transaction-size", 2]

    full = encore(*arguments)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    again = encore(*arguments)

    assert full.status == 1
    assert words in one_line(full)
    (arrived,) = re.findall(r"^stopped: (\d+) of 20 keys have arrived; the same command again", full.out, re.MULTILINE)
    assert int(arrived) > 0
    assert (again.status, again.err) == (0, "")
    assert again.last_line == f"20 of 20 keys have arrived ({arrived} of them before)"


def test_where_files_may_grow_no_further_the_earlier_ones_are_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"a": b"1", "b": bytes(2 << 20), "c": b"3"})

    done = command("copy", source, tmp_path / "target", launcher=(sys.executable, "-c", LIMITED))

    assert done.status == 1
    assert "File too large" in one_line(done)
    assert "stopped: 1 of 3 keys have arrived" in done.out
    assert set(read(tmp_path / "target")) == {"a"}


def test_a_failed_batch_is_a_rollback_in_the_summary(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"a": b"1", "b": b"2", "c": bytes(8 << 20), "d": b"4"})
    target = tmp_path / "a.db"

    done = command(
        "copy", source, f"sqlite:{target}", "--transaction-size", 2, launcher=(sys.executable, "-c", LIMITED)
    )

    assert done.status == 1
    assert "store 'target' cannot reach" in one_line(done)
    assert "commits: 1, rollbacks: 1, " in done.out
    assert "stopped: 2 of 4 keys have arrived" in done.out
    with SqliteStore(target, event_manager=EventManager()) as store:
        assert set(store.query_keys()) == {"a", "b"}
