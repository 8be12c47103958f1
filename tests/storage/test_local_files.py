"""Tests of local files: the file at the path keeps its kind, and stays whole."""

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
from encore_storage.stores.open_databases import register, unregister
from tests.storage.support import REPOSITORY, open_files

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
def named_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a file system without support for unnamed files."""
    monkeypatch.setattr(local_files, "_UNNAMED", 0)


@pytest.fixture(params=["unnamed", "named"])
def either(request: pytest.FixtureRequest) -> None:
    if request.param == "named":
        request.getfixturevalue("named_files")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("either")
class TestPermissions:
    """A replaced file keeps its owner and its permissions."""

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755, 0o444])
    def test_permissions_are_kept(self, store: DictMemoryStore, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        path.chmod(mode)

        store.to_file("k", path)

        assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, VALUE)

    def test_setuid_is_lost(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        path.chmod(0o4755)

        store.to_file("k", path)

        assert stat.S_IMODE(path.stat().st_mode) == 0o755

    @pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
    def test_new_file_gets_default_permissions(
        self, store: DictMemoryStore, tmp_path: Path, mask: int, mode: int
    ) -> None:
        before = os.umask(mask)
        try:
            store.to_file("k", tmp_path / "file")
        finally:
            os.umask(before)

        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode

    @pytest.mark.skipif(not IS_ROOT, reason="only root may give files away")
    @pytest.mark.parametrize("mode", [0o600, 0o644])
    def test_owner_is_kept(self, store: DictMemoryStore, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        os.chown(path, NOBODY, 4321)
        path.chmod(mode)

        store.to_file("k", path)

        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, 4321, mode)

    @pytest.mark.skipif(not IS_ROOT, reason="only root can switch users")
    def test_owner_that_cannot_be_kept_is_not_an_error(self, store: DictMemoryStore, tmp_path: Path) -> None:
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
    def test_access_control_list_is_kept(self, store: DictMemoryStore, tmp_path: Path) -> None:
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
            pytest.skip("the file system has no access control lists")
        before = os.getxattr(path, "system.posix_acl_access")

        store.to_file("k", path)

        assert os.getxattr(path, "system.posix_acl_access") == before


class TestStreams:
    """Pipes, devices and open descriptors are written to directly, never replaced."""

    def test_pipe_is_written_to(self, store: DictMemoryStore, tmp_path: Path) -> None:
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

    def test_pipe_behind_a_link_is_written_to(self, store: DictMemoryStore, tmp_path: Path) -> None:
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
    def test_device_is_not_replaced(self, store: DictMemoryStore, tmp_path: Path, is_linked: bool) -> None:
        device = tmp_path / "null"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / "link").symlink_to("null")

        store.to_file("k", tmp_path / "link" if is_linked else device)

        assert stat.S_ISCHR(device.lstat().st_mode)
        assert names_in(tmp_path) == {"null", "link"}

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_full_device_error_names_the_path(self, store: DictMemoryStore) -> None:
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            store.to_file("k", "/dev/full")

        assert stat.S_ISCHR(Path("/dev/full").lstat().st_mode)

    def test_socket_is_rejected(self, store: DictMemoryStore, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "socket"))
            with pytest.raises(OSError, match="socket") as caught:
                store.to_file("k", tmp_path / "socket")

        assert caught.value.errno == errno.ENXIO
        assert stat.S_ISSOCK((tmp_path / "socket").lstat().st_mode)

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
    @pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
    @pytest.mark.parametrize("kind", ["pipe", "file"])
    def test_standard_output_is_written_to(self, tmp_path: Path, path: str, kind: str) -> None:
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
    """Any path to a file works."""

    @pytest.mark.parametrize("to", ["file", "{}/file", "{}/folder/../file", "other", "folder/file"])
    def test_target_of_a_link_is_replaced(self, store: DictMemoryStore, tmp_path: Path, to: str) -> None:
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

    def test_missing_target_of_a_link_is_created(self, store: DictMemoryStore, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("file")

        store.to_file("k", tmp_path / "link")

        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == VALUE

    def test_circular_link_raises_an_error(self, store: DictMemoryStore, tmp_path: Path) -> None:
        (tmp_path / "circle").symlink_to("circle")

        with pytest.raises(OSError, match="circle") as caught:
            store.to_file("k", tmp_path / "circle")

        assert caught.value.errno == errno.ELOOP
        assert (tmp_path / "circle").is_symlink()

    @pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "." * 254 + "x"])
    def test_name_of_the_greatest_length_works(self, store: DictMemoryStore, tmp_path: Path, name: str) -> None:
        for data in (VALUE, b"another"):
            store.from_bytes("k", data)
            store.to_file("k", tmp_path / name)
            assert (tmp_path / name).read_bytes() == data

        assert names_in(tmp_path) == {name}

    def test_name_need_not_be_utf8(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")

        for _ in range(2):
            store.to_file("k", path)

        assert Path(path).read_bytes() == VALUE

    def test_relative_path_works(self, store: DictMemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

        for _ in range(2):
            store.to_file("k", "file")

        assert (names_in(tmp_path), Path("file").read_bytes()) == ({"file"}, VALUE)

    @pytest.mark.parametrize("path", [".", "folder", "folder/", "new/", ""])
    def test_directory_is_rejected(
        self, store: DictMemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder").mkdir()

        with pytest.raises(IsADirectoryError):
            store.to_file("k", path)

        assert names_in(tmp_path) == {"folder"}
        assert names_in(tmp_path / "folder") == set()

    def test_missing_directory_error_names_the_path(self, store: DictMemoryStore, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            store.to_file("k", tmp_path / "missing" / "file")

        assert caught.value.filename == str(tmp_path / "missing" / "file")

    def test_hard_link_keeps_the_old_bytes(self, store: DictMemoryStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        (tmp_path / "other").hardlink_to(tmp_path / "file")

        store.to_file("k", tmp_path / "file")

        assert ((tmp_path / "file").read_bytes(), (tmp_path / "other").read_bytes()) == (VALUE, b"old")

    def test_file_created_meanwhile_is_replaced(self, store: DictMemoryStore, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with local_files.replacing(path) as write:
            path.write_bytes(b"somebody else's")
            path.chmod(0o600)
            write(b"ours")

        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"ours", 0o600)
        assert names_in(tmp_path) == {"file"}

    def test_file_removed_meanwhile_is_created(self, store: DictMemoryStore, tmp_path: Path) -> None:
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
    """A kill leaves no file that a store would list."""

    @pytest.mark.parametrize("kind", ["unnamed", "named"])
    @pytest.mark.parametrize("program", [KILLED_WHILE_WRITING, KILLED_WHILE_REPLACING], ids=["writing", "replacing"])
    @pytest.mark.parametrize("place", ["file", "folder/file", "folder/deeper/file"])
    def test_kill_in_the_directory_of_a_store_leaves_nothing(
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
    def test_kill_in_another_directory_leaves_nothing(
        self, manager: EventManager, tmp_path: Path, exists: bool
    ) -> None:
        if exists:
            (tmp_path / "file").write_bytes(b"old")

        killed(KILLED_WHILE_WRITING, tmp_path / "file", "unnamed")

        assert list(FileSystemStore(tmp_path, event_manager=manager).query_keys()) == ["file"] * exists

    def test_kill_in_a_nested_store_leaves_nothing(self, manager: EventManager, tmp_path: Path) -> None:
        outer, inner = (FileSystemStore(path, event_manager=manager) for path in (tmp_path, tmp_path / "inner"))
        outer.from_bytes("a", b"1")
        inner.from_bytes("file", b"old")
        before = list(outer.query_keys())

        killed(KILLED_WHILE_REPLACING, tmp_path / "inner" / "file", "unnamed")

        assert list(inner.query_keys()) == ["file"]
        assert list(outer.query_keys()) == before

    @pytest.mark.usefixtures("named_files")
    def test_store_opened_meanwhile_does_not_sweep_the_new_file(self, manager: EventManager, tmp_path: Path) -> None:
        FileSystemStore(tmp_path, event_manager=manager).from_bytes("file", b"old")
        with local_files.replacing(tmp_path / "file") as write:
            write(b"new")
            FileSystemStore(tmp_path, event_manager=manager)

        assert (tmp_path / "file").read_bytes() == b"new"

    def test_world_writable_scratch_directory_is_not_used(self, manager: EventManager, tmp_path: Path) -> None:
        FileSystemStore(tmp_path, event_manager=manager).from_bytes("file", b"old")
        (tmp_path / ".encore" / "tmp").chmod(0o777)

        assert local_files._scratch_around(tmp_path / "file") == tmp_path


class Interrupt(BaseException):
    """A stand-in for KeyboardInterrupt."""


def interrupt(call: Callable[[], object], at: int) -> bool:
    """Interrupt the call at the nth instruction of the tested module; return whether it got that far."""
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


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupt_at_any_instruction_leaves_old_or_new_bytes(
    store: DictMemoryStore, tmp_path: Path, exists: bool
) -> None:
    path, number = tmp_path / "file", 0
    before = open_files()
    is_interrupted = True
    while is_interrupted:
        number += 1
        path.unlink(missing_ok=True)
        if exists:
            path.write_bytes(b"old")
        is_interrupted = interrupt(lambda: store.to_file("k", path), number)
        assert open_files() == before, f"a descriptor is leaked by an interrupt at instruction {number}"
        assert names_in(tmp_path) <= {"file"}, f"a file is left by an interrupt at instruction {number}"
        if exists or path.exists():
            assert path.read_bytes() in {VALUE, b"old"}

    assert number > 100


class TestSizes:
    """The expected size of a file is the `steps` of its operation."""

    @pytest.fixture
    def steps_of(self, store: DictMemoryStore, recorder: EventRecorder) -> Callable[[Path | str], list[int]]:
        def steps(path: Path | str) -> list[int]:
            recorder.clear()
            with contextlib.suppress(OSError):
                store.from_file("k", path)
            return [event.steps for event in recorder.of(StoreProgressStartEvent)]

        return steps

    @pytest.mark.parametrize("size", [0, 1, 5000])
    def test_ordinary_file_has_a_size(
        self, steps_of: Callable[[Path | str], list[int]], tmp_path: Path, size: int
    ) -> None:
        (tmp_path / "file").write_bytes(bytes(size))
        (tmp_path / "link").symlink_to("file")

        assert steps_of(tmp_path / "file") == steps_of(tmp_path / "link") == [size]

    @pytest.mark.parametrize("path", ["/proc/self/status", "/proc/cpuinfo", "/sys/kernel/uevent_seqnum", "/dev/null"])
    def test_file_generated_by_the_kernel_has_no_size(
        self, steps_of: Callable[[Path | str], list[int]], path: str
    ) -> None:
        if not os.access(path, os.R_OK):
            pytest.skip(f"no {path} here")

        assert steps_of(path) == [-1]

    def test_pipe_has_no_size(
        self, steps_of: Callable[[Path | str], list[int]], store: DictMemoryStore, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(VALUE))
        writer.start()

        assert steps_of(tmp_path / "pipe") == [-1]
        writer.join(LONG)
        assert store.to_bytes("k") == VALUE

    def test_missing_file_has_no_size(self, steps_of: Callable[[Path | str], list[int]], tmp_path: Path) -> None:
        assert steps_of(tmp_path / "missing") == [-1]


@dataclass
class Ledger:
    """An open database."""

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
    register(database)
    yield database
    unregister(database)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "ledger.db-shm", "link", "hard"])
@pytest.mark.parametrize("call", ["to_file", "from_file"])
def test_open_database_is_rejected(store: DictMemoryStore, tmp_path: Path, call: str, name: str) -> None:
    with pytest.raises(OpenDatabaseError, match="store 'ledger' of this process has that database open"):
        getattr(store, call)("k", tmp_path / name)

    assert (tmp_path / name).read_bytes() == b"SQLite"
    assert store.to_bytes("k") == VALUE


def test_closed_database_is_accepted(store: DictMemoryStore, tmp_path: Path, ledger: Ledger) -> None:
    unregister(ledger)

    store.from_file("k", tmp_path / "ledger.db")
    store.to_file("k", tmp_path / "ledger.db-wal")

    assert store.to_bytes("k") == b"SQLite"
