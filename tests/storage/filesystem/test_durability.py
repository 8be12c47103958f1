"""Tests of FileSystemStore with `durable=True`: completed writes survive a power loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.filesystem.support import put, store_in


class Disk:
    """A record of syncs and of directory changes, with those that a power loss would undo."""

    def __init__(self) -> None:
        self.synced = 0
        self.lost: dict[int, str] = {}
        """The last change of each directory that was not synced since, by inode."""
        self.moved_too_early: list[str] = []
        self._files: set[int] = set()

    def changed(self, directory: int | str | Path, change: str) -> None:
        self.lost[os.stat(directory).st_ino] = change  # noqa: PTH116 (a descriptor has no path)

    def moved(self, file: os.stat_result, name: str) -> None:
        if file.st_ino not in self._files:
            self.moved_too_early.append(name)

    def sync(self, fd: int) -> None:
        self.synced += 1
        self._files.add(os.fstat(fd).st_ino)
        self.lost.pop(os.fstat(fd).st_ino, None)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A record of the real system calls, except those on scratch files and the lock."""
    disk = Disk()
    fsync, replace, mkdir, unlink, rmdir = os.fsync, os.replace, os.mkdir, os.unlink, os.rmdir

    def recording_fsync(fd: int) -> None:
        fsync(fd)
        disk.sync(fd)

    def recording_replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        disk.moved(os.stat(source, dir_fd=src_dir_fd), target)
        replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        disk.changed(dst_dir_fd, f"{target} was placed")

    def recording_mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        disk.changed(Path(path).parent if dir_fd is None else dir_fd, f"{path} was made")

    def recording_unlink(path: Any, *, dir_fd: int) -> None:
        unlink(path, dir_fd=dir_fd)
        disk.changed(dir_fd, f"{path} was deleted")

    def recording_rmdir(path: Any, *, dir_fd: int) -> None:
        rmdir(path, dir_fd=dir_fd)
        disk.changed(dir_fd, f"{path} was removed")

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    monkeypatch.setattr(os, "mkdir", recording_mkdir)
    monkeypatch.setattr(os, "unlink", recording_unlink)
    monkeypatch.setattr(os, "rmdir", recording_rmdir)
    yield disk
    monkeypatch.undo()


def test_durable_write_is_on_the_disk_when_it_returns(tmp_path: Path, disk: Disk) -> None:
    store = store_in(tmp_path / "above" / "root", durable=True)
    assert disk.lost == {}

    writes: list[Callable[[], object]] = [
        lambda: put(store, "a/b/c", b"1", kind="k"),
        lambda: put(store, "a/b/c", b"2", kind="l"),
        lambda: store.from_bytes("a/b/c", b"3"),
        lambda: store.set_metadata("a/d", {"kind": "k"}),
        lambda: store.update_metadata("a/d", {"kind": "l"}),
        lambda: store.set_metadata("a/d", {}),
        lambda: store.delete("a/b/c"),
        lambda: store.delete("a/d"),
    ]
    for write in writes:
        before = disk.synced
        write()
        assert disk.synced > before
        assert disk.lost == {}
        assert disk.moved_too_early == []


def test_writes_are_not_synced_by_default(tmp_path: Path, disk: Disk) -> None:
    store = store_in(tmp_path / "root")

    put(store, "a/b", b"1", kind="k")

    assert disk.synced == 0
    assert "b" in disk.moved_too_early
    assert "b was placed" in disk.lost.values()
