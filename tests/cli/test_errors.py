"""Errors are one line on standard error, without a traceback."""

from __future__ import annotations

import contextlib
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.stores import SqliteStore
from tests.cli.conftest import FILES, Encore
from tests.cli.support import Result, command, read, write

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
os.execv(sys.argv[1], sys.argv[1:])
"""


def one_line(result: Result) -> str:
    """Return the only error line."""
    (line,) = result.err.splitlines()
    assert line.startswith("encore: ")
    return line.removeprefix("encore: ")


@pytest.fixture
def place(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a directory with files that are not stores."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"letter": b"Dear reader, this is no database, however long it may be. " * 100})
    (tmp_path / "circle").symlink_to("circle")
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("CREATE TABLE ledger (amount)")
    assert source.name == "source"
    return tmp_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port in use."""
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
        ("copy s3://bucket memory:", "'s3://bucket' is not a store: give a directory, sqlite:PATH or memory:"),
        ("copy source sqlite:", "'sqlite:' is not a store"),
        ("copy nothing memory:", "no directory 'nothing' to read from"),
        ("copy letter memory:", "no directory 'letter' to read from"),
        ("copy circle memory:", "no directory 'circle' to read from"),
        ("copy sqlite:nothing.db memory:", "no database 'nothing.db' to read from"),
        ("copy sqlite:source memory:", "no database 'source' to read from"),
    ],
)
@pytest.mark.usefixtures("place")
def test_invalid_arguments_have_status_2(encore: Encore, arguments: str, words: str) -> None:
    result = encore(*arguments.split())

    assert result.status == 2
    assert words in one_line(result)


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
def test_failures_have_status_1(encore: Encore, arguments: str, words: str) -> None:
    result = encore(*arguments.split())

    assert result.status == 1
    assert words in one_line(result)
    assert "keys copied" not in result.out


@pytest.mark.parametrize("arguments", ["copy sqlite:letter memory:", "copy source sqlite:ledger.db"])
def test_foreign_database_is_not_changed(encore: Encore, place: Path, arguments: str) -> None:
    before = read(place)

    encore(*arguments.split())

    assert read(place) == before


def test_separate_process_prints_one_line(place: Path) -> None:
    assert one_line(command("copy", "source", "s3://bucket", cwd=place)).startswith("'s3://bucket' is not a store")
    assert one_line(command("copy", "source", "letter", cwd=place)).endswith("use the path of a directory")


def test_port_in_use_is_named(encore: Encore, source: Path, used_port: int) -> None:
    result = encore("copy", source, "memory:", "--port", used_port)

    assert result.status == 1
    assert f"nothing can be served on port {used_port} of '127.0.0.1'" in one_line(result)


def test_unreadable_file_is_named_and_the_others_are_copied(encore: Encore, nobody: Path) -> None:
    write(nobody, FILES)
    (nobody / "b" / "c.txt").chmod(0)

    result = encore("copy", nobody, "memory:")

    assert (result.status, result.last_line) == (1, "3 of 4 keys copied, 1 failed")
    assert one_line(result).startswith("failed to copy 'b/c.txt': [Errno 13] Permission denied")


@pytest.mark.parametrize("folder", [".", "b"])
def test_unreadable_directory_is_named(encore: Encore, nobody: Path, folder: str) -> None:
    write(nobody / "source", FILES)
    (nobody / "source" / folder).chmod(0)

    result = encore("copy", nobody / "source", "memory:")
    (nobody / "source" / folder).chmod(0o755)

    assert result.status == 1
    assert "Permission denied" in one_line(result)


@pytest.mark.parametrize("scheme", ["", "sqlite:"])
def test_unwritable_target_is_reported(encore: Encore, nobody: Path, scheme: str) -> None:
    write(nobody / "source", FILES)
    (nobody / "locked").mkdir(mode=0o555)

    result = encore("copy", nobody / "source", f"{scheme}{nobody}/locked/target")

    assert result.status == 1
    assert "Permission denied" in one_line(result) or "unable to open database file" in one_line(result)


@pytest.mark.parametrize(("scheme", "words"), [("", "No space left on device"), ("sqlite:", "has no space left in")])
def test_copy_stopped_by_a_full_disk_is_resumed(
    encore: Encore, tmp_path: Path, small_disk: Path, scheme: str, words: str
) -> None:
    files = {f"{number:02}": bytes([number]) * 100_000 for number in range(20)}
    arguments = ["copy", write(tmp_path / "source", files), f"{scheme}{small_disk / 'target'}", "--transaction-size", 2]

    full = encore(*arguments)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    again = encore(*arguments)

    assert full.status == 1
    assert words in one_line(full)
    (arrived,) = re.findall(r"^stopped: (\d+) of 20 keys copied; run the same command again", full.out, re.MULTILINE)
    assert int(arrived) > 0
    assert (again.status, again.err) == (0, "")
    assert again.last_line == f"20 of 20 keys copied ({arrived} already up to date)"


def test_file_size_limit_keeps_earlier_keys(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"a": b"1", "b": bytes(2 << 20), "c": b"3"})

    result = command("copy", source, tmp_path / "target", launcher=(sys.executable, "-c", LIMITED))

    assert result.status == 1
    assert "File too large" in one_line(result)
    assert "stopped: 1 of 3 keys copied" in result.out
    assert set(read(tmp_path / "target")) == {"a"}


def test_failed_batch_is_a_rollback_in_the_summary(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"a": b"1", "b": b"2", "c": bytes(8 << 20), "d": b"4"})
    target = tmp_path / "a.db"

    result = command(
        "copy", source, f"sqlite:{target}", "--transaction-size", 2, launcher=(sys.executable, "-c", LIMITED)
    )

    assert result.status == 1
    assert "store 'target' cannot reach" in one_line(result)
    assert "commits: 1, rollbacks: 1, " in result.out
    assert "stopped: 2 of 4 keys copied" in result.out
    with SqliteStore(target, event_manager=EventManager()) as store:
        assert set(store.query_keys()) == {"a", "b"}
