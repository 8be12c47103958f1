"""What a copy skips the next time: just what the target holds as it arrived, and the source as it was read."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.cli.copying import CopyJob, CopyReport
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
)
from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.core import StoreCore
from encore_storage.stores.fingerprints import file_fingerprint, kept_fingerprint, settled_file
from tests.storage.support import REPOSITORY, STORES, put

KINDS = ["memory", "filesystem", "sqlite"]
LARGE = 3 << 20
"""More bytes than are read at once."""


class PlainStore(DictMemoryStore):
    """A store of somebody else, who has never heard of fingerprints."""

    _fingerprint = StoreCore._fingerprint
    _put_copy = StoreCore._put_copy
    _keep_fingerprint = StoreCore._keep_fingerprint
    _kept_fingerprint = StoreCore._kept_fingerprint


MakeStore = Callable[..., AbstractStore]


@pytest.fixture
def make_store(tmp_path: Path, manager: EventManager) -> Iterator[MakeStore]:
    with ExitStack() as made:

        def made_store(kind: str, name: str, event_manager: EventManager = manager) -> AbstractStore:
            options: dict[str, Any] = {"name": name, "event_manager": event_manager}
            if kind == "plain":
                return PlainStore(**options)
            return made.enter_context(STORES[kind](tmp_path / name, **options))

        yield made_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "source"


def copy(source: AbstractStore, target: AbstractStore, *, verify: bool = False, size: int = 2) -> CopyReport:
    job = CopyJob(source, target, transaction_size=size, verify=verify)
    job.run(sorted(source.query_keys()))
    return job.report


def did(recorder: EventRecorder, store: str, operation: str) -> list[str | None]:
    """The keys with which the store did so."""
    ends = recorder.of(StoreProgressEndEvent)
    return [event.key for event in ends if (event.store, event.operation) == (store, operation)]


def once(manager: EventManager, cls: type[Any], wanted: dict[str, Any], act: Callable[[], object]) -> None:
    """Do something the first time that something is told."""
    left = [1]

    def listen(_event: object) -> None:
        if left:
            left.pop()
            act()

    manager.connect(cls, listen, wanted, weak=False)


def age(path: Path) -> os.stat_result:
    """Wait until a further change of the file shows; gives it."""
    found = settled_file(path.stat)
    assert found is not None
    return found


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("from_", [*KINDS, "sqlite in memory"])
class TestUnchanged:
    """Between any two stores."""

    def test_what_is_unchanged_is_skipped_and_not_read(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        for key in ("a", "b", "c/d", "empty"):
            put(source, key, b"" if key == "empty" else key.encode(), {"key": key})
        copy(source, target)
        recorder.clear()

        assert copy(source, target) == CopyReport(total=4, skipped=4)
        assert did(recorder, "source", "get") == did(recorder, "target", "get") == did(recorder, "target", "set") == []

    def test_with_verify_everything_is_read(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        for key in ("a", "b"):
            put(source, key, key.encode())
        copy(source, target)
        recorder.clear()

        assert copy(source, target, verify=True) == CopyReport(total=2, skipped=2)
        assert did(recorder, "source", "get") == did(recorder, "target", "get") == ["a", "b"]

    def test_what_was_written_since_is_copied(self, make_store: MakeStore, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"old")
        put(source, "b", b"old")
        copy(source, target)
        put(source, "a", b"new")

        assert copy(source, target) == CopyReport(total=2, copied=1, skipped=1)
        assert target.to_bytes("a") == b"new"
        assert copy(source, target) == CopyReport(total=2, skipped=2)

    def test_what_was_written_to_the_target_since_is_copied_again(
        self, make_store: MakeStore, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"right")
        copy(source, target)
        put(target, "a", b"wrong")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"right"

    def test_what_was_deleted_in_the_target_since_is_copied_again(
        self, make_store: MakeStore, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"right")
        copy(source, target)
        target.delete("a")
        assert copy(source, target) == CopyReport(total=1, copied=1)
        target.delete("a")
        put(target, "a", b"wrong")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"right"

    @pytest.mark.parametrize("metadata", [{"n": 2}, {"n": True}, {"n": 1.0}, {}, {"n": 1, "m": None}])
    def test_metadata_alone_is_copied_too(
        self, make_store: MakeStore, from_: str, to: str, metadata: dict[str, Any]
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"bytes", {"n": 1})
        copy(source, target)
        source.set_metadata("a", metadata)

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert str(target.get_metadata("a")) == str(metadata)
        target.set_metadata("a", {"somebody": "else"})
        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert str(target.get_metadata("a")) == str(metadata)

    def test_a_value_written_after_it_was_read_arrives(
        self, make_store: MakeStore, manager: EventManager, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"old!")
        wanted = {"store": "source", "operation": "get"}
        once(manager, StoreProgressEndEvent, wanted, lambda: put(source, "a", b"new!"))

        copy(source, target)
        copy(source, target)

        assert target.to_bytes("a") == b"new!"

    def test_a_value_written_while_it_is_read_arrives_whole(
        self, make_store: MakeStore, manager: EventManager, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"1" * LARGE)
        wanted = {"store": "target", "operation": "set"}
        once(manager, StoreProgressStartEvent, wanted, lambda: put(source, "a", b"2" * LARGE))

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"2" * LARGE

    def test_a_value_that_the_target_gets_from_somebody_else_right_after_it_is_not_taken_for_the_copy(
        self, make_store: MakeStore, manager: EventManager, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"right")
        wanted = {"store": "target", "operation": "set", "key": "a"}
        once(manager, StoreProgressEndEvent, wanted, lambda: put(target, "a", b"wrong"))
        copy(source, target)
        assert target.to_bytes("a") == b"wrong"

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"right"

    def test_what_came_there_by_other_ways_is_compared_once(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        for store in (source, target):
            put(store, "a", b"the same")
            put(store, "b", b"1" if store is source else b"2")

        assert copy(source, target) == CopyReport(total=2, copied=1, skipped=1)
        recorder.clear()
        assert copy(source, target) == CopyReport(total=2, skipped=2)
        assert did(recorder, "source", "get") == did(recorder, "target", "get") == []

    def test_nobody_sees_a_fingerprint(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target, other = make_store(from_, "source"), make_store(to, "target"), make_store("memory", "other")
        put(source, "a", b"1", {"n": 1})
        copy(source, target)
        copy(target, other)

        assert dict(target.query()) == dict(other.query()) == {"a": {"n": 1}}
        assert list(target.query_keys()) == ["a"]
        assert {event.key for event in recorder.of(StoreModificationEvent)} == {"a"}
        assert kept_fingerprint(target, "a") is not None


@pytest.mark.parametrize(("from_", "to"), [("plain", "memory"), ("memory", "plain"), ("plain", "plain")])
class TestWithoutFingerprints:
    """Stores that offer none are compared byte by byte."""

    def test_equal_bytes_are_skipped(self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"1" * LARGE)
        put(source, "empty", b"")
        copy(source, target)
        recorder.clear()

        assert copy(source, target) == CopyReport(total=2, skipped=2)
        assert did(recorder, "source", "get") == ["a", "empty"]

    @pytest.mark.parametrize("place", [0, LARGE // 2, LARGE - 1])
    def test_one_other_byte_is_found(self, make_store: MakeStore, from_: str, to: str, place: int) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", bytes(LARGE))
        copy(source, target)
        changed = bytearray(LARGE)
        changed[place] = 1
        put(target, "a", bytes(changed))

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == bytes(LARGE)


def rewritten(path: Path) -> None:
    """Other bytes in the same file, as many, and its time as it was."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"NEW")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """Another file in its place, with as many bytes, and the time of the old one."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"NEW" + path.read_bytes()[3:])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def removed_and_made(path: Path) -> None:
    """Removed and made anew, which may give it the inode that it had."""
    before = path.stat()
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(b"NEW" + data[3:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def backdated(path: Path) -> None:
    """Other bytes, and an older time than it ever had."""
    path.write_bytes(b"NEW" + path.read_bytes()[3:])
    os.utime(path, (1, 1))


CHANGES = [rewritten, replaced, removed_and_made, backdated]


class TestFiles:
    """What other programs do with the files of a source, or of a target."""

    @pytest.mark.parametrize("to", KINDS)
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_file_changed_between_two_copies_is_copied(
        self, make_store: MakeStore, folder: Path, to: str, change: Callable[[Path], None]
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store(to, "target")
        for _ in range(5):
            put(source, "a", b"old bytes")
            copy(source, target)
            change(folder / "a")

            assert copy(source, target) == CopyReport(total=1, copied=1)
            assert target.to_bytes("a") == b"NEW bytes"

    @pytest.mark.parametrize("to", KINDS)
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize(
        ("cls", "wanted"),
        [
            (StoreProgressEndEvent, {"store": "source", "operation": "get_metadata"}),
            (StoreProgressStartEvent, {"store": "target", "operation": "set"}),
            (StoreProgressStartEvent, {"store": "source", "operation": "get"}),
            (StoreProgressEndEvent, {"store": "source", "operation": "get"}),
            (StoreProgressEndEvent, {"store": "target", "operation": "set"}),
        ],
        ids=["looked up", "set", "get", "read", "written"],
    )
    def test_a_file_changed_in_the_middle_of_a_copy_arrives_in_the_end(
        self,
        make_store: MakeStore,
        manager: EventManager,
        folder: Path,
        to: str,
        change: Callable[[Path], None],
        cls: type[Any],
        wanted: dict[str, Any],
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store(to, "target")
        put(source, "a", b"old" + bytes(LARGE))
        once(manager, cls, wanted, lambda: change(folder / "a"))

        assert copy(source, target).is_complete
        assert target.to_bytes("a") in {b"old" + bytes(LARGE), b"NEW" + bytes(LARGE)}
        assert copy(source, target).is_complete
        assert target.to_bytes("a") == b"NEW" + bytes(LARGE)

    @pytest.mark.parametrize("to", KINDS)
    def test_a_mixture_of_old_and_new_bytes_never_arrives(
        self, make_store: MakeStore, manager: EventManager, monkeypatch: pytest.MonkeyPatch, folder: Path, to: str
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store(to, "target")
        put(source, "a", b"1" * LARGE)
        put(target, "a", b"0")
        monkeypatch.setattr("encore_storage.observing.progress.StoreProgressManager.min_interval", 0)
        seen: list[bytes] = []
        times = [1, 1]

        def halfway(_event: object) -> None:
            seen.append(target.to_bytes("a")[:1])
            if times:
                times.pop()
                before = (folder / "a").stat()
                (folder / "a").write_bytes(b"23"[len(times) : len(times) + 1] * LARGE)
                os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

        manager.connect(StoreProgressStepEvent, halfway, {"store": "source", "operation": "get"}, weak=False)
        assert copy(source, target) == CopyReport(total=1, copied=1)

        assert target.to_bytes("a") == b"2" * LARGE
        assert set(seen) == {b"0"}

    @pytest.mark.parametrize("to", KINDS)
    def test_a_file_changed_each_time_is_told_and_the_old_copy_stays(
        self, make_store: MakeStore, manager: EventManager, folder: Path, to: str
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store(to, "target")
        put(source, "a", b"old bytes")
        put(source, "b", b"another")
        put(target, "a", b"before")
        wanted = {"store": "source", "operation": "get", "key": "a"}
        manager.connect(StoreProgressStartEvent, lambda _event: rewritten(folder / "a"), wanted, weak=False)

        report = copy(source, target)

        assert (report.copied, list(report.failed)) == (1, ["a"])
        assert "was replaced while it was being read" in report.failed["a"]
        assert (target.to_bytes("a"), target.to_bytes("b")) == (b"before", b"another")

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("from_", KINDS)
    def test_a_file_of_the_target_that_somebody_changes_is_copied_again(
        self, make_store: MakeStore, tmp_path: Path, from_: str, change: Callable[[Path], None]
    ) -> None:
        source, target = make_store(from_, "source"), make_store("filesystem", "target")
        put(source, "a", b"old bytes")
        copy(source, target)
        age(tmp_path / "target" / "a")
        change(tmp_path / "target" / "a")
        assert target.to_bytes("a") == b"NEW bytes"

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"old bytes"

    @pytest.mark.parametrize("side", ["source", "target"])
    @pytest.mark.parametrize(
        "touch",
        [
            lambda path: path.chmod(0o600),
            lambda path: path.with_name("hard").hardlink_to(path),
            os.utime,
            lambda path: path.rename(path.with_name("hard")).rename(path),
        ],
        ids=["permissions", "hard link", "time", "renamed"],
    )
    def test_a_file_whose_bytes_stayed_is_compared_once_and_not_copied(
        self,
        make_store: MakeStore,
        recorder: EventRecorder,
        tmp_path: Path,
        side: str,
        touch: Callable[[Path], object],
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"bytes")
        copy(source, target)
        touch(tmp_path / side / "a")
        (tmp_path / side / "hard").unlink(missing_ok=True)
        recorder.clear()

        assert copy(source, target) == CopyReport(total=1, skipped=1)
        assert did(recorder, "source", "get") == ["a"]
        recorder.clear()
        assert copy(source, target) == CopyReport(total=1, skipped=1)
        assert did(recorder, "source", "get") == did(recorder, "target", "set") == []

    def test_the_whole_target_put_back_from_elsewhere_is_compared(
        self, make_store: MakeStore, tmp_path: Path, recorder: EventRecorder
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        put(source, "b", b"1")
        copy(source, target)
        shutil.copytree(tmp_path / "target", tmp_path / "elsewhere", symlinks=True)
        (tmp_path / "elsewhere" / "b").write_bytes(b"2")
        recorder.clear()

        with FileSystemStore(tmp_path / "elsewhere", name="elsewhere", event_manager=EventManager()) as elsewhere:
            assert copy(source, elsewhere) == CopyReport(total=2, copied=1, skipped=1)
            assert (elsewhere.to_bytes("a"), elsewhere.to_bytes("b")) == (b"1", b"1")
        assert did(recorder, "source", "get") == ["a", "b", "b"]

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"key": "a"}', b"\xff", b'{"key": 1, "own": 2}'])
    def test_a_record_that_is_damaged_says_nothing(self, make_store: MakeStore, tmp_path: Path, text: bytes) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        copy(source, target)
        [record] = (tmp_path / "target" / ".encore" / "fingerprints").iterdir()
        record.write_bytes(text)

        assert kept_fingerprint(target, "a") is None
        assert copy(source, target) == CopyReport(total=1, skipped=1)
        assert kept_fingerprint(target, "a") is not None

    def test_a_file_that_somebody_puts_there_right_after_the_copy_is_not_taken_for_it(
        self, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"old bytes")
        replace = FileSystemStore._replace

        def replace_for_a_moment(*arguments: Any) -> Any:
            change = replace(*arguments)
            (tmp_path / "target" / "a").write_bytes(b"NEW bytes")
            return change

        with monkeypatch.context() as patched:
            patched.setattr(FileSystemStore, "_replace", replace_for_a_moment)
            copy(source, target)
        assert target.to_bytes("a") == b"NEW bytes"

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"old bytes"

    def test_a_record_goes_with_its_key(self, make_store: MakeStore, tmp_path: Path) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        copy(source, target)
        target.delete("a")

        assert list((tmp_path / "target" / ".encore" / "fingerprints").iterdir()) == []

    def test_a_record_that_cannot_be_written_is_no_failure(self, make_store: MakeStore, tmp_path: Path) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        (tmp_path / "target" / ".encore").mkdir()
        (tmp_path / "target" / ".encore" / "fingerprints").write_bytes(b"in the way")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert copy(source, target) == CopyReport(total=1, skipped=1)

    def test_a_kill_between_the_value_and_its_record_skips_nothing_wrong(
        self, make_store: MakeStore, tmp_path: Path
    ) -> None:
        source = make_store("filesystem", "source")
        put(source, "a", b"old")
        copy(source, make_store("filesystem", "target"))
        put(source, "a", b"new")
        program = (
            "import os, signal, sys\n"
            "from encore_events import EventManager\n"
            "from encore_storage import FileSystemStore\n"
            "from encore_storage.cli.copying import CopyJob\n"
            "from encore_storage.stores.filesystem.fingerprint_files import FingerprintFiles\n"
            "FingerprintFiles.save = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
            "source, target = (FileSystemStore(path, event_manager=EventManager()) for path in sys.argv[1:])\n"
            "CopyJob(source, target, transaction_size=1, verify=False).run(['a'])\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "source"), str(tmp_path / "target")]
        assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
        target = make_store("filesystem", "target")
        assert target.to_bytes("a") == b"new"
        put(source, "a", b"NEW")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"NEW"


class TestSettledFiles:
    """Two changes within one tick of the clock of a file can't be told apart, so that tick is waited for."""

    @pytest.mark.parametrize("number", range(5))
    def test_a_file_that_was_written_just_now_is_waited_for(self, tmp_path: Path, number: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        before = settled_file(path.stat)
        rewritten(path)

        assert before is not None
        assert file_fingerprint(path.stat()) != file_fingerprint(before)

    def test_a_file_that_is_changed_meanwhile_has_none(self, tmp_path: Path) -> None:
        path = tmp_path / "file"

        def look() -> os.stat_result:
            path.write_bytes(b"x")
            time.sleep(0.005)
            return path.stat()

        assert settled_file(look) is None

    @pytest.mark.parametrize(("seconds", "is_settled"), [(-3, True), (3600, False)])
    def test_one_whose_times_are_whole_seconds_or_to_come(self, tmp_path: Path, seconds: int, is_settled: bool) -> None:
        (tmp_path / "file").touch()
        found = list((tmp_path / "file").stat())
        now = int(time.time()) + seconds
        made = os.stat_result([*found[:7], now, now, now], {"st_ctime_ns": now * 10**9, "st_mtime_ns": now * 10**9})

        began = time.monotonic()
        assert (settled_file(lambda: made) is not None) == is_settled
        assert time.monotonic() - began < 1


class TestDatabases:
    """What is done with a database that holds a copy."""

    def test_bytes_that_somebody_changes_in_place_are_copied_again(self, make_store: MakeStore, tmp_path: Path) -> None:
        source = make_store("memory", "source")
        put(source, "a", b"right")
        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            copy(source, target)
        with sqlite3.connect(tmp_path / "target") as connection:
            connection.execute("UPDATE chunk SET data = ?", (b"wrong",))
        connection.close()

        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            assert target.to_bytes("a") == b"wrong"
            assert copy(source, target) == CopyReport(total=1, copied=1)
            assert target.to_bytes("a") == b"right"

    def test_a_fingerprint_goes_with_the_value_whoever_replaces_it(self, make_store: MakeStore, tmp_path: Path) -> None:
        source = make_store("memory", "source")
        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            for key in "abc":
                put(source, key, key.encode())
            copy(source, target)
            target.delete("a")
            put(target, "b", b"other")
            target.set_metadata("c", {"n": 1})
            rows = target._select("SELECT count(*) FROM fingerprint")

        assert rows == [(1,)]

    def test_a_database_has_the_layout_that_it_had(self, make_store: MakeStore, tmp_path: Path) -> None:
        source = make_store("memory", "source")
        put(source, "a", b"1")
        layouts = []
        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            layouts += target._select("PRAGMA user_version")
            assert target._select("SELECT name FROM sqlite_master WHERE name LIKE 'fingerprint%'") == []
            copy(source, target)
            layouts += target._select("PRAGMA user_version")

        assert layouts[0] == layouts[1]

    @pytest.mark.parametrize("to", ["memory", "sqlite", "sqlite in memory"])
    def test_a_batch_that_is_rolled_back_leaves_no_fingerprint(
        self, make_store: MakeStore, manager: EventManager, recorder: EventRecorder, to: str
    ) -> None:
        source, target = make_store("memory", "source"), make_store(to, "target")
        for key in ("a", "b"):
            put(source, key, b"new")
            put(target, key, b"old")

        def interrupt() -> None:
            raise KeyboardInterrupt

        once(manager, StoreProgressEndEvent, {"store": "target", "operation": "set", "key": "b"}, interrupt)
        with pytest.raises(KeyboardInterrupt):
            copy(source, target)

        assert recorder.of(StoreTransactionEndEvent)[-1].outcome == "rolled_back"
        assert kept_fingerprint(target, "a") is None
        assert copy(source, target) == CopyReport(total=2, copied=2)
        assert {key: target.to_bytes(key) for key in ("a", "b")} == {"a": b"new", "b": b"new"}

    def test_a_source_that_was_put_back_from_a_backup_is_copied_again(
        self, make_store: MakeStore, tmp_path: Path
    ) -> None:
        target = make_store("memory", "target")
        with SqliteStore(tmp_path / "source", event_manager=EventManager()) as source:
            put(source, "a", b"old")
            copy(source, target)
        shutil.copy(tmp_path / "source", tmp_path / "backup")
        with SqliteStore(tmp_path / "source", event_manager=EventManager()) as source:
            put(source, "a", b"new")
            copy(source, target)
        shutil.copy(tmp_path / "backup", tmp_path / "source")

        with SqliteStore(tmp_path / "source", event_manager=EventManager()) as source:
            assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"old"


class LyingStore(DictMemoryStore):
    """It keeps other bytes than it got, for as long as it lies."""

    lies = True

    def _put(self, key: str, chunks: Any, metadata: Any) -> Any:
        return super()._put(key, [b"WRONG"] if self.lies and list(chunks) else chunks, metadata)


def test_what_was_found_wrong_by_verifying_is_not_skipped_the_next_time(manager: EventManager) -> None:
    source, target = DictMemoryStore(name="source", event_manager=manager), LyingStore(event_manager=manager)
    put(source, "a", b"right")
    assert list(copy(source, target, verify=True).failed) == ["a"]
    assert kept_fingerprint(target, "a") is None
    target.lies = False

    assert copy(source, target) == CopyReport(total=1, copied=1)
    assert target.to_bytes("a") == b"right"


def test_a_copy_has_nothing_to_do_with_the_permissions_of_its_source(make_store: MakeStore, folder: Path) -> None:
    source, target = make_store("filesystem", "source"), make_store("memory", "target")
    source.set("a", (io.BytesIO(b"1"), {}))
    (folder / "a").chmod(0o400)

    assert copy(source, target) == CopyReport(total=1, copied=1)
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o400
