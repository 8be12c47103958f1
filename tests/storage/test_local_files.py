"""Files that values are written to and read from: what stands at the path stays what it is, and whole."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import OpenDatabaseError
from encore_storage.events import StoreProgressStartEvent
from encore_storage.stores import DictMemoryStore, FileSystemStore, local_files
from encore_storage.stores.open_databases import closed, opened
from tests.storage.support import REPOSITORY

VALUE = b"the value" * 1000
LONG = 60.0
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture
def store(manager: EventManager) -> DictMemoryStore:
    store = DictMemoryStore(name="archive", event_manager=manager)
    store.from_bytes("k", VALUE)
    return store


@pytest.fixture
def named_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system has no files without a name."""
    monkeypatch.setattr(local_files, "_UNNAMED", 0)


@pytest.fixture(params=["unnamed", "named"])
def either(request: pytest.FixtureRequest) -> None:
    if request.param == "named":
        request.getfixturevalue("named_parts")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("either")
class TestPermissions:
    """A file that is replaced stays whose it was, and readable for whom it was."""

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755, 0o444])
    def test_permissions_stay(self, store: DictMemoryStore, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        path.chmod(mode)

        store.to_file("k", path)

        assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, VALUE)

    def test_a_program_does_not_stay_one_that_runs_as_its_owner(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        path.chmod(0o4755)

        store.to_file("k", path)

        assert stat.S_IMODE(path.stat().st_mode) == 0o755

    @pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
    def test_a_new_file_gets_the_usual_ones(self, store: DictMemoryStore, tmp_path: Path, mask: int, mode: int) -> None:
        before = os.umask(mask)
        try:
            store.to_file("k", tmp_path / "file")
        finally:
            os.umask(before)

        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode

    @pytest.mark.skipif(not IS_ROOT, reason="only root may give files away")
    @pytest.mark.parametrize("mode", [0o600, 0o644])
    def test_the_owner_stays(self, store: DictMemoryStore, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        os.chown(path, NOBODY, 4321)
        path.chmod(mode)

        store.to_file("k", path)

        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, 4321, mode)

    @pytest.mark.skipif(not IS_ROOT, reason="only root can be somebody else for a while")
    def test_an_owner_that_cannot_stay_is_no_failure(self, store: DictMemoryStore, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        path = tmp_path / "file"
        path.write_bytes(b"old")
        for folder in path.parents:
            if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        os.seteuid(NOBODY)
        try:
            store.to_file("k", path)
        finally:
            os.seteuid(0)

        assert (path.stat().st_uid, path.read_bytes()) == (NOBODY, VALUE)

    @pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
    def test_an_access_list_stays(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        entries = [(1, 6, 0xFFFFFFFF), (2, 6, NOBODY), (4, 0, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
        packed = b"".join(
            tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
            for tag, rights, who in entries
        )
        try:
            os.setxattr(path, "system.posix_acl_access", (2).to_bytes(4, "little") + packed)
        except OSError:
            pytest.skip("the file system has no access lists")
        before = os.getxattr(path, "system.posix_acl_access")

        store.to_file("k", path)

        assert os.getxattr(path, "system.posix_acl_access") == before


class TestStreams:
    """Pipes, devices and open descriptors are written to, and stay what they are."""

    def test_a_pipe_is_written_to(self, store: DictMemoryStore, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
        reader.start()

        store.to_file("k", pipe, buffer_size=100)
        reader.join(LONG)

        assert got == [VALUE]
        assert stat.S_ISFIFO(pipe.lstat().st_mode)
        assert names_in(tmp_path) == {"pipe"}

    def test_a_pipe_behind_a_link_is_written_to(self, store: DictMemoryStore, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
        reader.start()

        store.to_file("k", tmp_path / "link")
        reader.join(LONG)

        assert got == [VALUE]
        assert (tmp_path / "link").is_symlink()

    @pytest.mark.skipif(not IS_ROOT, reason="only root may make a device")
    @pytest.mark.parametrize("is_linked", [False, True])
    def test_a_device_stays_a_device(self, store: DictMemoryStore, tmp_path: Path, is_linked: bool) -> None:
        device = tmp_path / "null"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / "link").symlink_to("null")

        store.to_file("k", tmp_path / "link" if is_linked else device)

        assert stat.S_ISCHR(device.lstat().st_mode)
        assert names_in(tmp_path) == {"null", "link"}

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
    def test_a_full_device_is_an_error_that_names_it(self, store: DictMemoryStore) -> None:
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            store.to_file("k", "/dev/full")

        assert stat.S_ISCHR(Path("/dev/full").lstat().st_mode)

    def test_a_socket_is_refused_and_stays(self, store: DictMemoryStore, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "socket"))
            with pytest.raises(OSError, match="socket") as caught:
                store.to_file("k", tmp_path / "socket")

        assert caught.value.errno == errno.ENXIO
        assert stat.S_ISSOCK((tmp_path / "socket").lstat().st_mode)

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
    @pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
    @pytest.mark.parametrize("kind", ["pipe", "file"])
    def test_standard_output_is_written_to_whatever_it_is(self, tmp_path: Path, path: str, kind: str) -> None:
        (tmp_path / "link").symlink_to("/dev/stdout")
        program = (
            "import sys; from encore_storage import DictMemoryStore; store = DictMemoryStore()\n"
            "store.from_bytes('k', b'the value'); store.to_file('k', sys.argv[1])"
        )
        command = [sys.executable, "-c", program, path]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        if kind == "pipe":
            out = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True).stdout
        else:
            with (tmp_path / "out").open("wb") as file:
                before = os.fstat(file.fileno()).st_ino
                subprocess.run(command, cwd=tmp_path, env=environment, stdout=file, check=True)
            out = (tmp_path / "out").read_bytes()
            assert (tmp_path / "out").stat().st_ino == before

        assert out == b"the value"


@pytest.mark.usefixtures("either")
class TestPlaces:
    """What path leads to the file does not matter."""

    @pytest.mark.parametrize("to", ["file", "{}/file", "{}/folder/../file", "other", "folder/file"])
    def test_a_link_stays_and_what_it_leads_to_is_replaced(
        self, store: DictMemoryStore, tmp_path: Path, to: str
    ) -> None:
        (tmp_path / "folder").mkdir()
        for name in ("file", "folder/file"):
            (tmp_path / name).write_bytes(b"old")
        (tmp_path / "other").symlink_to("file")
        link = tmp_path / "link"
        link.symlink_to(to.format(tmp_path))

        store.to_file("k", link)

        assert link.is_symlink()
        assert str(link.readlink()) == to.format(tmp_path)
        assert link.read_bytes() == VALUE
        assert (tmp_path / "other").is_symlink()
        assert names_in(tmp_path) == {"file", "folder", "link", "other"}
        assert names_in(tmp_path / "folder") == {"file"}

    def test_a_link_that_leads_nowhere_yet_stays_and_leads_to_the_file(
        self, store: DictMemoryStore, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to("file")

        store.to_file("k", tmp_path / "link")

        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == VALUE

    def test_a_link_that_goes_round_in_a_circle_is_an_error(self, store: DictMemoryStore, tmp_path: Path) -> None:
        (tmp_path / "circle").symlink_to("circle")

        with pytest.raises(OSError, match="circle") as caught:
            store.to_file("k", tmp_path / "circle")

        assert caught.value.errno == errno.ELOOP
        assert (tmp_path / "circle").is_symlink()

    @pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "." * 254 + "x"])
    def test_a_name_may_be_as_long_as_the_system_allows(
        self, store: DictMemoryStore, tmp_path: Path, name: str
    ) -> None:
        for data in (VALUE, b"another"):
            store.from_bytes("k", data)
            store.to_file("k", tmp_path / name)
            assert (tmp_path / name).read_bytes() == data

        assert names_in(tmp_path) == {name}

    def test_a_name_need_not_be_text(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")

        for _ in range(2):
            store.to_file("k", path)

        assert Path(path).read_bytes() == VALUE

    def test_a_path_may_be_relative(
        self, store: DictMemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)

        for _ in range(2):
            store.to_file("k", "file")

        assert (names_in(tmp_path), Path("file").read_bytes()) == ({"file"}, VALUE)

    @pytest.mark.parametrize("path", [".", "folder", "folder/", "new/", ""])
    def test_a_directory_is_refused(
        self, store: DictMemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder").mkdir()

        with pytest.raises(IsADirectoryError):
            store.to_file("k", path)

        assert names_in(tmp_path) == {"folder"}
        assert names_in(tmp_path / "folder") == set()

    def test_a_directory_that_is_missing_is_an_error_that_names_the_path(
        self, store: DictMemoryStore, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            store.to_file("k", tmp_path / "missing" / "file")

        assert caught.value.filename == str(tmp_path / "missing" / "file")

    def test_another_name_of_the_file_keeps_the_old_bytes(self, store: DictMemoryStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        (tmp_path / "other").hardlink_to(tmp_path / "file")

        store.to_file("k", tmp_path / "file")

        assert ((tmp_path / "file").read_bytes(), (tmp_path / "other").read_bytes()) == (VALUE, b"old")

    def test_a_file_made_meanwhile_is_replaced(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with local_files.replacing(path) as write:
            path.write_bytes(b"somebody else's")
            path.chmod(0o600)
            write(b"ours")

        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"ours", 0o600)
        assert names_in(tmp_path) == {"file"}

    def test_a_file_removed_meanwhile_is_made(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with local_files.replacing(path) as write:
            path.unlink()
            write(b"ours")

        assert path.read_bytes() == b"ours"


KILLED_WHILE_WRITING = """
import os, signal, sys
from encore_storage.stores import local_files
if sys.argv[2] == "named":
    local_files._UNNAMED = 0
with local_files.replacing(sys.argv[1]) as write:
    write(b"half of the value")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WHILE_REPLACING = """
import os, pathlib, signal, sys
from encore_storage.stores import local_files
if sys.argv[2] == "named":
    local_files._UNNAMED = 0
pathlib.Path.replace = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
with local_files.replacing(sys.argv[1]) as write:
    write(b"all of the value")
"""


def killed(program: str, path: Path, kind: str) -> None:
    status = subprocess.run([sys.executable, "-c", program, path, kind], cwd=REPOSITORY, check=False).returncode
    assert status == -signal.SIGKILL


class TestKill:
    """A kill leaves no file that a store would take for a value."""

    @pytest.mark.parametrize("kind", ["unnamed", "named"])
    @pytest.mark.parametrize("program", [KILLED_WHILE_WRITING, KILLED_WHILE_REPLACING], ids=["writing", "replacing"])
    @pytest.mark.parametrize("place", ["file", "folder/file", "folder/deeper/file"])
    def test_in_the_directory_of_a_store(
        self, manager: EventManager, tmp_path: Path, program: str, kind: str, place: str
    ) -> None:
        store = FileSystemStore(tmp_path, event_manager=manager)
        store.from_bytes(place, b"old")

        killed(program, tmp_path / place, kind)

        assert list(store.query_keys()) == [place]
        assert store.to_bytes(place) == b"old"
        again = FileSystemStore(tmp_path, event_manager=manager)
        assert names_in(tmp_path / ".encore" / "tmp") == set()
        again.to_file(place, tmp_path / "other")

    @pytest.mark.parametrize("exists", [False, True])
    def test_in_a_directory_that_will_be_one_of_a_store(
        self, manager: EventManager, tmp_path: Path, exists: bool
    ) -> None:
        if exists:
            (tmp_path / "file").write_bytes(b"old")

        killed(KILLED_WHILE_WRITING, tmp_path / "file", "unnamed")

        assert list(FileSystemStore(tmp_path, event_manager=manager).query_keys()) == ["file"] * exists

    def test_in_a_store_within_a_store(self, manager: EventManager, tmp_path: Path) -> None:
        outer, inner = (FileSystemStore(path, event_manager=manager) for path in (tmp_path, tmp_path / "inner"))
        outer.from_bytes("a", b"1")
        inner.from_bytes("file", b"old")
        before = list(outer.query_keys())

        killed(KILLED_WHILE_REPLACING, tmp_path / "inner" / "file", "unnamed")

        assert list(inner.query_keys()) == ["file"]
        assert list(outer.query_keys()) == before

    @pytest.mark.usefixtures("named_parts")
    def test_a_store_that_is_opened_meanwhile_leaves_the_bytes_alone(
        self, manager: EventManager, tmp_path: Path
    ) -> None:
        FileSystemStore(tmp_path, event_manager=manager).from_bytes("file", b"old")
        with local_files.replacing(tmp_path / "file") as write:
            write(b"new")
            FileSystemStore(tmp_path, event_manager=manager)

        assert (tmp_path / "file").read_bytes() == b"new"

    def test_a_scratch_directory_that_others_may_write_to_is_not_used(
        self, manager: EventManager, tmp_path: Path
    ) -> None:
        FileSystemStore(tmp_path, event_manager=manager).from_bytes("file", b"old")
        (tmp_path / ".encore" / "tmp").chmod(0o777)

        assert local_files._scratch_around(tmp_path / "file") == tmp_path


class Interrupt(BaseException):
    """Ctrl-C at the worst of moments."""


def interrupted(call: Callable[[], object], at: int) -> bool:
    """Raise in the call, at the nth instruction of the module that is tested; whether it came that far."""
    left = at

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != local_files.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return left <= 0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_instruction_leaves_the_old_bytes_or_the_new(
    store: DictMemoryStore, tmp_path: Path, exists: bool
) -> None:
    path, number = tmp_path / "file", 0
    before = descriptors()
    has_come = True
    while has_come:
        number += 1
        path.unlink(missing_ok=True)
        if exists:
            path.write_bytes(b"old")
        has_come = interrupted(lambda: store.to_file("k", path), number)
        assert descriptors() == before, f"a descriptor stays open after an interrupt at instruction {number}"
        assert names_in(tmp_path) <= {"file"}, f"a part stays after an interrupt at instruction {number}"
        if exists or path.exists():
            assert path.read_bytes() in {VALUE, b"old"}

    assert number > 100


class TestSizes:
    """How many bytes are expected of a file."""

    @pytest.fixture
    def announced(self, store: DictMemoryStore, recorder: EventRecorder) -> Callable[[Path | str], list[int]]:
        def announce(path: Path | str) -> list[int]:
            recorder.clear()
            with contextlib.suppress(OSError):
                store.from_file("k", path)
            return [event.steps for event in recorder.of(StoreProgressStartEvent)]

        return announce

    @pytest.mark.parametrize("size", [0, 1, 5000])
    def test_an_ordinary_file_says_how_many(
        self, announced: Callable[[Path | str], list[int]], tmp_path: Path, size: int
    ) -> None:
        (tmp_path / "file").write_bytes(bytes(size))
        (tmp_path / "link").symlink_to("file")

        assert announced(tmp_path / "file") == announced(tmp_path / "link") == [size]

    @pytest.mark.parametrize("path", ["/proc/self/status", "/proc/cpuinfo", "/sys/kernel/uevent_seqnum", "/dev/null"])
    def test_what_the_kernel_makes_up_does_not(self, announced: Callable[[Path | str], list[int]], path: str) -> None:
        if not os.access(path, os.R_OK):
            pytest.skip(f"there is no {path} here")

        assert announced(path) == [-1]

    def test_a_pipe_does_not(
        self, announced: Callable[[Path | str], list[int]], store: DictMemoryStore, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(VALUE))
        writer.start()

        assert announced(tmp_path / "pipe") == [-1]
        writer.join(LONG)
        assert store.to_bytes("k") == VALUE

    def test_a_file_that_is_missing_is_told_by_its_opening(
        self, announced: Callable[[Path | str], list[int]], tmp_path: Path
    ) -> None:
        assert announced(tmp_path / "missing") == [-1]


@dataclass
class Ledger:
    """A database that somebody has open."""

    path: str
    store: str = "ledger"
    in_transaction: bool = False
    writing_thread: object = None


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"ledger.db{suffix}").write_bytes(b"SQLite")
    (tmp_path / "link").symlink_to("ledger.db")
    (tmp_path / "hard").hardlink_to(tmp_path / "ledger.db")
    database = Ledger(str(tmp_path / "ledger.db"))
    opened(database)
    yield database
    closed(database)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "ledger.db-shm", "link", "hard"])
@pytest.mark.parametrize("call", ["to_file", "from_file"])
def test_a_database_that_is_open_is_no_file(store: DictMemoryStore, tmp_path: Path, call: str, name: str) -> None:
    with pytest.raises(OpenDatabaseError, match="store 'ledger' of this process has that database open"):
        getattr(store, call)("k", tmp_path / name)

    assert (tmp_path / name).read_bytes() == b"SQLite"
    assert store.to_bytes("k") == VALUE


def test_a_database_that_is_closed_is_a_file(store: DictMemoryStore, tmp_path: Path, ledger: Ledger) -> None:
    closed(ledger)

    store.from_file("k", tmp_path / "ledger.db")
    store.to_file("k", tmp_path / "ledger.db-wal")

    assert store.to_bytes("k") == b"SQLite"
