"""Tests of FileSystemStore: owner, group, permissions and attributes of replaced files and of metadata."""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import ActingSource, pair, put, store_in

NOBODY = 65534
ACL = "system.posix_acl_access"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def shared(unprivileged: Path) -> Path:
    """A world-writable directory."""
    unprivileged.chmod(0o777)
    return unprivileged


@contextmanager
def effective_user(user: int) -> Iterator[None]:
    """Run the block as another effective user."""
    before = os.geteuid()
    os.seteuid(0)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.seteuid(before)


def access_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def metadata_file(root: Path) -> Path:
    (file,) = (root / ".encore" / "metadata").iterdir()
    return file


@as_root
@pytest.mark.parametrize("call", ["set", "set data", "set metadata", "update metadata"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o660, 0o400, 0o755, 0o444, 0o000])
def test_owner_group_and_permissions_are_kept(root: Path, store: FileSystemStore, mode: int, call: str) -> None:
    put(store, "a", b"old", v=1)
    os.chown(root / "a", NOBODY, 1234)
    (root / "a").chmod(mode)
    calls: dict[str, Callable[[], object]] = {
        "set": lambda: put(store, "a", b"new", v=2),
        "set data": lambda: store.from_bytes("a", b"new"),
        "set metadata": lambda: store.set_metadata("a", {"v": 2}),
        "update metadata": lambda: store.update_metadata("a", {"v": 2}),
    }

    calls[call]()

    assert access_of(root / "a") == (NOBODY, 1234, mode)
    if call != "set data":
        assert access_of(metadata_file(root)) == (NOBODY, 1234, mode & 0o666)


@pytest.mark.parametrize(("mode", "kept"), [(0o1644, 0o1644), (0o4755, 0o755), (0o2755, 0o755)])
def test_setuid_and_setgid_are_lost(root: Path, store: FileSystemStore, mode: int, kept: int) -> None:
    store.from_bytes("a", b"old")
    (root / "a").chmod(mode)

    store.from_bytes("a", b"new")

    assert stat.S_IMODE((root / "a").stat().st_mode) == kept


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_permissions_do_not_depend_on_the_umask(root: Path, store: FileSystemStore, mask: int) -> None:
    store.from_bytes("a", b"old")
    (root / "a").chmod(0o664)
    before = os.umask(mask)
    try:
        put(store, "a", b"new", v=1)
        put(store, "new", b"new", v=1)
    finally:
        os.umask(before)

    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o664
    for file in (root / ".encore" / "metadata").iterdir():
        value = root / ("a" if '"key": "a"' in file.read_text() else "new")
        assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(value.stat().st_mode)


def test_permissions_changed_during_a_write_are_kept(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"old", v=1)
    (root / "a").chmod(0o644)

    store.set("a", (ActingSource(lambda: (root / "a").chmod(0o600)), {"v": 2}))

    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE(metadata_file(root).stat().st_mode) == 0o600


def test_temporary_file_is_no_more_readable_than_the_replaced_one(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"old")
    (root / "a").chmod(0o600)
    modes: list[int] = []

    store.set_data(
        "a", ActingSource(lambda: modes.extend(path.stat().st_mode for path in (root / ".encore/tmp").iterdir()))
    )

    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]


@as_root
def test_owner_that_cannot_be_kept_is_logged_once(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        (shared / name).write_bytes(b"old")
        with effective_user(0):
            os.chown(shared / name, 1234, 1234)
            (shared / name).chmod(0o664)
    store = store_in(shared)

    with effective_user(NOBODY):
        for name in ("a", "b"):
            put(store, name, b"new", v=1)
            assert pair(store, name) == (b"new", {"v": 1})

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("encore_storage", logging.WARNING)
    assert f"'{shared}/a' is replaced by a file of another owner" in record.getMessage()
    assert "1234:1234, mode 664" in record.getMessage()
    assert access_of(shared / "a") == (NOBODY, 0, 0o644)  # the new group must not get the rights of the old one


@as_root
def test_group_is_kept_even_if_the_owner_cannot_be(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    (shared / "a").write_bytes(b"old")
    with effective_user(0):
        os.chown(shared / "a", 1234, os.getgroups()[0] if os.getgroups() else 0)
        (shared / "a").chmod(0o660)
        group = (shared / "a").stat().st_gid

    store_in(shared).from_bytes("a", b"new")

    assert access_of(shared / "a") == (NOBODY, group, 0o660)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", ["fchown", "fchmod", "setxattr"])
def test_file_system_without_owners_is_writable(
    root: Path, store: FileSystemStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old", v=1)
    (root / "a").chmod(0o666)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, name, refuse)
    put(store, "a", b"new", v=2)

    assert pair(store, "a") == (b"new", {"v": 2})


def test_extended_attributes_are_kept(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"old", v=1)
    set_attribute(root / "a", "user.origin", b"scanner")

    put(store, "a", b"new", v=2)

    assert os.getxattr(root / "a", "user.origin") == b"scanner"
    assert "user.origin" not in os.listxattr(metadata_file(root))


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an access control list of entries with tag, permissions and id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


LIST = acl((1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))
"""rw for the owner, r for user 1234, nothing for the group and others."""


def set_attribute(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError:
        pytest.skip(f"no {name} on this file system")


def test_access_control_list_is_kept_and_applied_to_the_metadata(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"old", v=1)
    set_attribute(root / "a", ACL, LIST)

    put(store, "a", b"new", v=2)

    assert os.getxattr(root / "a", ACL) == LIST
    assert os.getxattr(metadata_file(root), ACL) == LIST
    store.set_metadata("a", {"v": 3})
    assert os.getxattr(metadata_file(root), ACL) == LIST


def test_group_gets_no_rights_if_the_access_control_list_is_lost(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "a", b"old", v=1)
    set_attribute(root / "a", ACL, LIST)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640  # the group bits are the mask of the list

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", refuse)
    put(store, "a", b"new", v=2)

    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE(metadata_file(root).stat().st_mode) == 0o600
    assert len(caplog.records) == 1


def test_inherited_access_control_list_is_removed(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"old")
    (root / "a").chmod(0o640)
    set_attribute(root / ".encore" / "tmp", "system.posix_acl_default", LIST)

    put(store, "a", b"new", v=1)

    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640
    for path in (root / "a", metadata_file(root)):
        assert ACL not in os.listxattr(path)


def test_metadata_follows_changed_permissions(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    (root / "a").chmod(0o600)

    store.update_metadata("a", {"w": 1})

    assert stat.S_IMODE(metadata_file(root).stat().st_mode) == 0o600


def test_metadata_is_never_more_readable_than_its_value(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"1", v=1)
    (root / "a").chmod(0o600)
    write, modes = os.write, []

    def recording(fd: int, data: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return write(fd, data)

    monkeypatch.setattr(os, "write", recording)
    put(store, "a", b"2", v=2)
    store.set_metadata("a", {"v": 3})
    store.delete("a")

    assert set(modes) == {0o600}


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_own_directories_are_no_more_open_than_the_root(root: Path, mode: int) -> None:
    root.chmod(mode)
    before = os.umask(0)
    try:
        put(store_in(root), "a", b"1", v=1)
    finally:
        os.umask(before)

    own = root / ".encore"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (own, own / "tmp", own / "metadata")} == {mode}
    assert stat.S_IMODE((own / "lock").stat().st_mode) == mode & 0o666


@as_root
def test_own_directories_made_by_root_belong_to_the_owner(unprivileged: Path) -> None:
    with effective_user(0):
        put(store_in(unprivileged), "a", b"1", v=1)

    put(store_in(unprivileged), "b", b"2", v=2)

    own = unprivileged / ".encore"
    assert {path.stat().st_uid for path in (own, own / "tmp", own / "metadata", own / "lock")} == {NOBODY}


READONLY: dict[str, Callable[[Path], object]] = {
    "the directory": lambda root: root.chmod(0o555),
    "metadata": lambda root: (root / ".encore" / "metadata").chmod(0o555),
    "scratch": lambda root: (root / ".encore" / "tmp").chmod(0o555),
    "the lock": lambda root: (root / ".encore" / "lock").chmod(0o444),
}


@pytest.mark.parametrize("name", READONLY)
def test_unwritable_directory_is_readonly(unprivileged: Path, name: str) -> None:
    store = store_in(unprivileged)
    put(store, "a", b"1", v=1)
    assert store.info()["readonly"] is False

    READONLY[name](unprivileged)

    assert store.info()["readonly"] is True
    assert store_in(unprivileged).info()["readonly"] is True
    with pytest.raises(PermissionError):
        put(store, "b", b"1", v=1)
    assert pair(store, "a") == (b"1", {"v": 1})


def test_unwritable_own_directory_without_its_files_is_readonly(unprivileged: Path) -> None:
    (unprivileged / ".encore").mkdir()
    assert store_in(unprivileged).info()["readonly"] is False

    (unprivileged / ".encore").chmod(0o555)

    assert store_in(unprivileged).info()["readonly"] is True
    with pytest.raises(PermissionError):
        store_in(unprivileged).from_bytes("a", b"1")


def test_unwritable_own_directory_with_its_files_is_writable(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    put(store, "a", b"1", v=1)
    (unprivileged / ".encore").chmod(0o555)

    assert store.info()["readonly"] is False
    put(store, "a", b"2", v=2)


@as_root
def test_readonly_is_determined_for_the_effective_user(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    is_readonly = store_in(unprivileged).info()["readonly"]
    with effective_user(0):
        assert store_in(unprivileged).info()["readonly"] is False
    with effective_user(1234):
        assert store_in(unprivileged.parent).info()["readonly"] is False
    assert is_readonly is True


@as_root
def test_readonly_mount_is_readonly(root: Path) -> None:
    store = store_in(root)
    put(store, "a", b"1", v=1)
    done = subprocess.run(["mount", "--bind", "-o", "ro", root, root], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        store = store_in(root)
        assert store.info()["readonly"] is True
        assert pair(store, "a") == (b"1", {"v": 1})
        with pytest.raises(OSError, match="Read-only") as caught:
            store.from_bytes("a", b"2")
        assert caught.value.errno == errno.EROFS
    finally:
        subprocess.run(["umount", root], check=True)
