"""A source directory with more in it than values: what is skipped is named and counted, and the rest arrives."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.cli.source import SourceDirectory
from encore_storage.stores import FileSystemStore
from encore_storage.stores.open_databases import register, unregister
from tests.cli.conftest import FILES, Encore
from tests.cli.support import LONG, read, start, write

NOBODY = 65534


@pytest.fixture
def socket_in(source: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
        yield


@pytest.mark.usefixtures("socket_in")
def test_what_is_no_value_is_named_and_counted(encore: Encore, source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "b" / "pipe")
    (source / "broken").symlink_to("nowhere")
    (source / "circle").symlink_to("circle")
    (source / "b" / "link").symlink_to("c.txt")
    (source / "outside").symlink_to(tmp_path)
    (source / "void" / "deep").mkdir(parents=True)

    done = encore("copy", source, tmp_path / "target")

    assert (done.status, done.last_line) == (0, "4 of 4 keys have arrived")
    assert done.out.splitlines()[0] == "skipped: 4 symbolic links, 2 special files, 1 empty directory"
    assert sorted(done.err.splitlines()) == [
        "encore: 'b/link' was skipped: it is a symbolic link",
        "encore: 'b/pipe' was skipped: it is a pipe",
        "encore: 'broken' was skipped: it is a symbolic link",
        "encore: 'circle' was skipped: it is a symbolic link",
        "encore: 'outside' was skipped: it is a symbolic link",
        "encore: 'socket' was skipped: it is a socket",
        "encore: 'void/deep' was skipped: it is an empty directory",
    ]
    assert read(tmp_path / "target") == FILES


def test_a_pipe_never_stops_it(source: Path, tmp_path: Path) -> None:
    for name in ("a-pipe", "b/pipe", "z-pipe"):
        os.mkfifo(source / name)

    process = start("copy", source, tmp_path / "target", "--verify")
    out, err = process.communicate(timeout=LONG)

    assert process.returncode == 0
    assert out.splitlines()[-1] == "4 of 4 keys have arrived"
    assert err.count(" was skipped: it is a pipe\n") == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device")
def test_a_device_is_named(encore: Encore, source: Path) -> None:
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    done = encore("copy", source, "memory:")

    assert (done.status, done.err) == (0, "encore: 'null' was skipped: it is a device\n")


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
def test_only_what_matches_the_pattern_is_named(encore: Encore, source: Path, pattern: str, skipped: set[str]) -> None:
    (source / "link").symlink_to("a.txt")
    (source / "b" / "link").symlink_to("c.txt")
    (source / "void").mkdir()

    done = encore("copy", source, "memory:", "--pattern", pattern)

    assert done.status == 0
    assert {line.split("'")[1] for line in done.err.splitlines()} == skipped


def test_an_empty_source_is_no_trouble(encore: Encore, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()

    done = encore("copy", tmp_path / "source", "memory:")

    assert (done.status, done.last_line, done.err) == (0, "0 of 0 keys have arrived", "")


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory of somebody who may not do everything, which is who the process acts for meanwhile."""
    folder = Path(tempfile.mkdtemp())
    write(folder / "source", {**FILES, "dark/secret": b"1", "dark/deeper/secret": b"2", "z": b"last"})
    write(folder / "target", {"b/old": b"old"})
    me = os.geteuid()
    somebody = me or NOBODY
    for path in (folder, *folder.rglob("*")):
        os.chown(path, somebody, -1)
    os.seteuid(somebody)
    try:
        yield folder
    finally:
        os.seteuid(me)
        for path in folder.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(folder)


class TestUnreadable:
    """What may not be read is told, and everything else arrives; the status says that not all of it did."""

    def test_a_directory(self, encore: Encore, theirs: Path) -> None:
        (theirs / "source" / "dark").chmod(0)

        done = encore("copy", theirs / "source", theirs / "target")

        assert done.status == 1
        assert done.out.splitlines()[0] == "skipped: 1 unreadable directory"
        assert done.out.splitlines()[-1] == "5 of 5 keys have arrived"
        assert done.err == "encore: 'dark' was skipped: it cannot be read: Permission denied\n"
        assert read(theirs / "target") == {**FILES, "b/old": b"old", "z": b"last"}

    def test_directories_in_several_places(self, encore: Encore, theirs: Path) -> None:
        (theirs / "source" / "dark" / "deeper").chmod(0)
        (theirs / "source" / "b").chmod(0)

        done = encore("copy", theirs / "source", theirs / "target")

        assert done.status == 1
        assert "skipped: 2 unreadable directories\n" in done.out
        assert {line.split("'")[1] for line in done.err.splitlines()} == {"b", "dark/deeper"}
        assert set(read(theirs / "target")) == {"a.txt", "b/old", "dark/secret", "empty", "z"}

    @pytest.mark.parametrize(
        ("pattern", "status"), [("dark/*", 1), ("d*", 1), ("*secret", 1), ("b/*", 0), ("z", 0), ("dark-ages", 0)]
    )
    def test_a_directory_in_which_nothing_is_asked_for_is_no_trouble(
        self, encore: Encore, theirs: Path, pattern: str, status: int
    ) -> None:
        (theirs / "source" / "dark").chmod(0)

        assert encore("copy", theirs / "source", "memory:", "--pattern", pattern).status == status

    def test_a_directory_whose_names_may_be_read_but_not_its_files(self, encore: Encore, theirs: Path) -> None:
        (theirs / "source" / "b").chmod(0o444)

        done = encore("copy", theirs / "source", theirs / "target")

        assert done.status == 1
        assert {line.split("'")[1] for line in done.err.splitlines()} == {"b/c.txt", "b/d.bin"}
        assert "Permission denied" in done.err
        assert {"a.txt", "dark/secret", "z"} <= set(read(theirs / "target"))

    def test_a_file(self, encore: Encore, theirs: Path) -> None:
        (theirs / "source" / "b" / "c.txt").chmod(0)

        done = encore("copy", theirs / "source", theirs / "target")

        assert done.status == 1
        assert done.out.splitlines()[-1] == "6 of 7 keys have arrived, 1 failed"
        assert done.err.startswith("encore: 'b/c.txt' did not arrive: ")

    def test_a_directory_of_the_target(self, encore: Encore, theirs: Path) -> None:
        (theirs / "target" / "b").chmod(0o555)
        done = encore("copy", theirs / "source", theirs / "target")

        assert done.status == 1
        assert done.out.splitlines()[-1] == "5 of 7 keys have arrived, 2 failed"
        assert set(read(theirs / "target")) == {
            *("a.txt", "b/old", "empty", "dark/secret", "dark/deeper/secret", "z"),
        }


@dataclass
class Ledger:
    """A database that this process has open."""

    path: str
    store: str = "ledger"
    in_transaction: bool = False
    writing_thread: object = None


def test_a_database_that_this_process_has_open_is_left_out(encore: Encore, source: Path, tmp_path: Path) -> None:
    write(source, {"ledger.db": b"SQLite", "ledger.db-wal": b"log", "ledger.db-shm": b"index"})
    (source / "hard").hardlink_to(source / "ledger.db")
    ledger = Ledger(str(source / "ledger.db"))
    register(ledger)
    try:
        done = encore("copy", source, tmp_path / "target")
    finally:
        unregister(ledger)

    assert (done.status, done.last_line) == (0, "4 of 4 keys have arrived")
    assert done.out.splitlines()[0] == "skipped: 4 files of open databases"
    assert done.err.count("store 'ledger' of this process has that database open") == 4
    assert read(tmp_path / "target") == FILES


def test_the_keys_are_those_of_any_store_over_the_directory(source: Path, manager: EventManager) -> None:
    write(source, {"b-c": b"", "b.txt": b"", "é": b"", ".hidden/x": b""})
    FileSystemStore(source, event_manager=manager).set_metadata("a.txt", {"n": 1})
    reader = SourceDirectory(source, name="source", event_manager=manager)

    assert list(reader.query_keys()) == list(FileSystemStore(source, event_manager=manager).query_keys())
    assert reader.skipped == {}
