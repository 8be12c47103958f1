"""Copies of files that other programs change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.cli.copying import CopyReport
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.stores import FileSystemStore
from encore_storage.stores.fingerprints import kept_fingerprint, settled_file
from tests.cli.copies import KINDS, LARGE, MakeStore, connect_once, copy, ended_keys, rewrite
from tests.storage.support import REPOSITORY, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "source"


def wait_until_settled(path: Path) -> os.stat_result:
    """Wait until the next change of the file is detectable."""
    found = settled_file(path.stat)
    assert found is not None
    return found


def replace(path: Path) -> None:
    """Replace the file by one of the same size and time."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"NEW" + path.read_bytes()[3:])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def recreate(path: Path) -> None:
    """Delete and recreate the file, which may reuse the inode."""
    before = path.stat()
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(b"NEW" + data[3:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def backdate(path: Path) -> None:
    """Overwrite bytes, and set an older time."""
    path.write_bytes(b"NEW" + path.read_bytes()[3:])
    os.utime(path, (1, 1))


CHANGES = [rewrite, replace, recreate, backdate]


class TestFiles:
    """Files changed by other programs in the source or the target."""

    @pytest.mark.parametrize("to", KINDS)
    @pytest.mark.parametrize("change", CHANGES)
    def test_file_changed_between_copies_is_copied(
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
        ids=["after get_metadata", "before set", "before get", "after get", "after set"],
    )
    def test_file_changed_during_a_copy_is_copied_in_the_end(
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
        connect_once(manager, cls, wanted, lambda: change(folder / "a"))

        assert copy(source, target).is_complete
        assert target.to_bytes("a") in {b"old" + bytes(LARGE), b"NEW" + bytes(LARGE)}
        assert copy(source, target).is_complete
        assert target.to_bytes("a") == b"NEW" + bytes(LARGE)

    @pytest.mark.parametrize("to", KINDS)
    def test_mixture_of_old_and_new_bytes_is_never_stored(
        self, make_store: MakeStore, manager: EventManager, monkeypatch: pytest.MonkeyPatch, folder: Path, to: str
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store(to, "target")
        put(source, "a", b"1" * LARGE)
        put(target, "a", b"0")
        monkeypatch.setattr("encore_storage.observing.progress.StoreProgressManager.min_interval", 0)
        seen: list[bytes] = []
        times = [1, 1]

        def change_halfway(_event: object) -> None:
            seen.append(target.to_bytes("a")[:1])
            if times:
                times.pop()
                before = (folder / "a").stat()
                (folder / "a").write_bytes(b"23"[len(times) : len(times) + 1] * LARGE)
                os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

        manager.connect(StoreProgressStepEvent, change_halfway, {"store": "source", "operation": "get"}, weak=False)
        assert copy(source, target) == CopyReport(total=1, copied=1)

        assert target.to_bytes("a") == b"2" * LARGE
        assert set(seen) == {b"0"}

    @pytest.mark.parametrize("to", KINDS)
    def test_file_that_keeps_changing_fails_and_keeps_the_old_copy(
        self, make_store: MakeStore, manager: EventManager, folder: Path, to: str
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store(to, "target")
        put(source, "a", b"old bytes")
        put(source, "b", b"another")
        put(target, "a", b"before")
        wanted = {"store": "source", "operation": "get", "key": "a"}
        manager.connect(StoreProgressStartEvent, lambda _event: rewrite(folder / "a"), wanted, weak=False)

        report = copy(source, target)

        assert (report.copied, list(report.failed)) == (1, ["a"])
        assert "was replaced while it was being read" in report.failed["a"]
        assert (target.to_bytes("a"), target.to_bytes("b")) == (b"before", b"another")

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("from_", KINDS)
    def test_file_changed_in_the_target_is_copied_again(
        self, make_store: MakeStore, tmp_path: Path, from_: str, change: Callable[[Path], None]
    ) -> None:
        source, target = make_store(from_, "source"), make_store("filesystem", "target")
        put(source, "a", b"old bytes")
        copy(source, target)
        wait_until_settled(tmp_path / "target" / "a")
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
    def test_touched_file_is_compared_once_and_not_copied(
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
        assert ended_keys(recorder, "source", "get") == ["a"]
        recorder.clear()
        assert copy(source, target) == CopyReport(total=1, skipped=1)
        assert ended_keys(recorder, "source", "get") == ended_keys(recorder, "target", "set") == []

    def test_restored_target_is_compared(self, make_store: MakeStore, tmp_path: Path, recorder: EventRecorder) -> None:
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
        assert ended_keys(recorder, "source", "get") == ["a", "b", "b"]

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"key": "a"}', b"\xff", b'{"key": 1, "own": 2}'])
    def test_damaged_fingerprint_file_is_ignored(self, make_store: MakeStore, tmp_path: Path, text: bytes) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        copy(source, target)
        [record] = (tmp_path / "target" / ".encore" / "fingerprints").iterdir()
        record.write_bytes(text)

        assert kept_fingerprint(target, "a") is None
        assert copy(source, target) == CopyReport(total=1, skipped=1)
        assert kept_fingerprint(target, "a") is not None

    def test_file_replaced_right_after_the_copy_is_copied_again(
        self, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"old bytes")
        replace = FileSystemStore._replace

        def replace_and_overwrite(*arguments: Any) -> Any:
            change = replace(*arguments)
            (tmp_path / "target" / "a").write_bytes(b"NEW bytes")
            return change

        with monkeypatch.context() as patched:
            patched.setattr(FileSystemStore, "_replace", replace_and_overwrite)
            copy(source, target)
        assert target.to_bytes("a") == b"NEW bytes"

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"old bytes"

    def test_delete_removes_the_fingerprint_file(self, make_store: MakeStore, tmp_path: Path) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        copy(source, target)
        target.delete("a")

        assert list((tmp_path / "target" / ".encore" / "fingerprints").iterdir()) == []

    def test_unwritable_fingerprint_file_is_not_a_failure(self, make_store: MakeStore, tmp_path: Path) -> None:
        source, target = make_store("filesystem", "source"), make_store("filesystem", "target")
        put(source, "a", b"1")
        (tmp_path / "target" / ".encore").mkdir()
        (tmp_path / "target" / ".encore" / "fingerprints").write_bytes(b"in the way")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert copy(source, target) == CopyReport(total=1, skipped=1)

    def test_kill_before_the_fingerprint_is_saved_does_not_skip_the_key(
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
