"""Source directories with paths that are skipped."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.cli.source import SourceDirectory
from encore_storage.stores import FileSystemStore
from encore_storage.stores.open_databases import register, unregister
from tests.cli.conftest import FILES, Encore
from tests.cli.support import TIMEOUT, read, start, write


@pytest.fixture
def socket_in(source: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
        yield


@pytest.mark.usefixtures("socket_in")
def test_special_files_are_named_and_counted(encore: Encore, source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "b" / "pipe")
    (source / "broken").symlink_to("nowhere")
    (source / "circle").symlink_to("circle")
    (source / "b" / "link").symlink_to("c.txt")
    (source / "outside").symlink_to(tmp_path)
    (source / "void" / "deep").mkdir(parents=True)

    result = encore("copy", source, tmp_path / "target")

    assert (result.status, result.last_line) == (0, "4 of 4 keys copied")
    assert result.out.splitlines()[0] == "skipped: 4 symbolic links, 2 special files, 1 empty directory"
    assert sorted(result.err.splitlines()) == [
        "encore: skipped 'b/link': it is a symbolic link",
        "encore: skipped 'b/pipe': it is a pipe",
        "encore: skipped 'broken': it is a symbolic link",
        "encore: skipped 'circle': it is a symbolic link",
        "encore: skipped 'outside': it is a symbolic link",
        "encore: skipped 'socket': it is a socket",
        "encore: skipped 'void/deep': it is an empty directory",
    ]
    assert read(tmp_path / "target") == FILES


def test_pipes_do_not_block_the_copy(source: Path, tmp_path: Path) -> None:
    for name in ("a-pipe", "b/pipe", "z-pipe"):
        os.mkfifo(source / name)

    process = start("copy", source, tmp_path / "target", "--verify")
    out, err = process.communicate(timeout=TIMEOUT)

    assert process.returncode == 0
    assert out.splitlines()[-1] == "4 of 4 keys copied"
    assert err.count(": it is a pipe\n") == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device")
def test_device_is_named(encore: Encore, source: Path) -> None:
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    result = encore("copy", source, "memory:")

    assert (result.status, result.err) == (0, "encore: skipped 'null': it is a device\n")


@pytest.mark.parametrize(
    ("pattern", "skipped"),
    [
        ("*", {"link", "b/link", "void"}),
        ("b/*", {"b/link"}),
        ("*.txt", set()),
        ("l*", {"link"}),
        ("[lv]*", {"link", "void"}),
    ],
)
def test_pattern_selects_skipped_paths(encore: Encore, source: Path, pattern: str, skipped: set[str]) -> None:
    (source / "link").symlink_to("a.txt")
    (source / "b" / "link").symlink_to("c.txt")
    (source / "void").mkdir()

    result = encore("copy", source, "memory:", "--pattern", pattern)

    assert result.status == 0
    assert {line.split("'")[1] for line in result.err.splitlines()} == skipped


def test_empty_source_succeeds(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()

    result = encore("copy", tmp_path / "source", "memory:")

    assert (result.status, result.last_line, result.err) == (0, "0 of 0 keys copied", "")


@pytest.fixture
def users_folder(nobody: Path) -> Path:
    write(nobody / "source", {**FILES, "dark/secret": b"1", "dark/deeper/secret": b"2", "z": b"last"})
    write(nobody / "target", {"b/old": b"old"})
    return nobody


class TestUnreadable:
    """Paths without read permission are named, the rest is copied, and the status is 1."""

    def test_unreadable_directory_is_named(self, encore: Encore, users_folder: Path) -> None:
        (users_folder / "source" / "dark").chmod(0)

        result = encore("copy", users_folder / "source", users_folder / "target")

        assert result.status == 1
        assert result.out.splitlines()[0] == "skipped: 1 unreadable directory"
        assert result.out.splitlines()[-1] == "5 of 5 keys copied"
        assert result.err == "encore: skipped 'dark': it cannot be read: Permission denied\n"
        assert read(users_folder / "target") == {**FILES, "b/old": b"old", "z": b"last"}

    def test_several_unreadable_directories_are_named(self, encore: Encore, users_folder: Path) -> None:
        (users_folder / "source" / "dark" / "deeper").chmod(0)
        (users_folder / "source" / "b").chmod(0)

        result = encore("copy", users_folder / "source", users_folder / "target")

        assert result.status == 1
        assert "skipped: 2 unreadable directories\n" in result.out
        assert {line.split("'")[1] for line in result.err.splitlines()} == {"b", "dark/deeper"}
        assert set(read(users_folder / "target")) == {"a.txt", "b/old", "dark/secret", "empty", "z"}

    @pytest.mark.parametrize(
        ("pattern", "status"), [("dark/*", 1), ("d*", 1), ("*secret", 1), ("b/*", 0), ("z", 0), ("dark-ages", 0)]
    )
    def test_unreadable_directory_fails_only_if_the_pattern_may_match_inside(
        self, encore: Encore, users_folder: Path, pattern: str, status: int
    ) -> None:
        (users_folder / "source" / "dark").chmod(0)

        assert encore("copy", users_folder / "source", "memory:", "--pattern", pattern).status == status

    def test_directory_without_execute_permission_fails_its_files(self, encore: Encore, users_folder: Path) -> None:
        (users_folder / "source" / "b").chmod(0o444)

        result = encore("copy", users_folder / "source", users_folder / "target")

        assert result.status == 1
        assert {line.split("'")[1] for line in result.err.splitlines()} == {"b/c.txt", "b/d.bin"}
        assert "Permission denied" in result.err
        assert {"a.txt", "dark/secret", "z"} <= set(read(users_folder / "target"))

    def test_unreadable_file_fails(self, encore: Encore, users_folder: Path) -> None:
        (users_folder / "source" / "b" / "c.txt").chmod(0)

        result = encore("copy", users_folder / "source", users_folder / "target")

        assert result.status == 1
        assert result.out.splitlines()[-1] == "6 of 7 keys copied, 1 failed"
        assert result.err.startswith("encore: failed to copy 'b/c.txt': ")

    def test_unwritable_target_directory_fails_its_keys(self, encore: Encore, users_folder: Path) -> None:
        (users_folder / "target" / "b").chmod(0o555)
        result = encore("copy", users_folder / "source", users_folder / "target")

        assert result.status == 1
        assert result.out.splitlines()[-1] == "5 of 7 keys copied, 2 failed"
        assert set(read(users_folder / "target")) == {
            *("a.txt", "b/old", "empty", "dark/secret", "dark/deeper/secret", "z"),
        }


@dataclass
class Ledger:
    """A database that this process has open."""

    path: str
    store: str = "ledger"
    in_transaction: bool = False
    writing_thread: object = None


def test_open_database_is_skipped(encore: Encore, source: Path, tmp_path: Path) -> None:
    write(source, {"ledger.db": b"SQLite", "ledger.db-wal": b"log", "ledger.db-shm": b"index"})
    (source / "hard").hardlink_to(source / "ledger.db")
    ledger = Ledger(str(source / "ledger.db"))
    register(ledger)
    try:
        result = encore("copy", source, tmp_path / "target")
    finally:
        unregister(ledger)

    assert (result.status, result.last_line) == (0, "4 of 4 keys copied")
    assert result.out.splitlines()[0] == "skipped: 4 files of open databases"
    assert result.err.count("store 'ledger' of this process has that database open") == 4
    assert read(tmp_path / "target") == FILES


def test_keys_equal_those_of_a_file_system_store(source: Path, manager: EventManager) -> None:
    write(source, {"b-c": b"", "b.txt": b"", "é": b"", ".hidden/x": b""})
    FileSystemStore(source, event_manager=manager).set_metadata("a.txt", {"n": 1})
    reader = SourceDirectory(source, name="source", event_manager=manager)

    assert list(reader.query_keys()) == list(FileSystemStore(source, event_manager=manager).query_keys())
    assert reader.skipped == {}
