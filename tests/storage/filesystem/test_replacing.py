"""Tests of FileSystemStore: a set replaces a file atomically, and leaves no temporary file."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encore_storage.errors import StoreFullError, error_type_of
from encore_storage.stores import FileSystemStore
from encore_storage.stores.filesystem.system import lock
from tests.storage.filesystem.support import ActingSource, Killed, pair, put, scratch_in, store_in
from tests.storage.support import Source

LIMIT = 1 << 20


@pytest.fixture
def small_files() -> Iterator[None]:
    """Limit the size of files to a mebibyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt(), Killed()], ids=repr)
def test_failing_source_keeps_old_bytes_and_metadata(root: Path, store: FileSystemStore, error: BaseException) -> None:
    put(store, "a", b"old", kind="old")

    for key in ("a", "b/c"):
        with pytest.raises(type(error)):
            store.set(key, (Source(b"new ", error), {"kind": "new"}))

    assert (list(store.query()), store.to_bytes("a")) == ([("a", {"kind": "old"})], b"old")
    assert scratch_in(root) == []
    assert not (root / "b").exists()


def test_temporary_file_is_not_a_key(root: Path, store: FileSystemStore) -> None:
    seen: list[object] = []

    store.set_data("a", ActingSource(lambda: seen.extend((list(store.query_keys()), len(scratch_in(root))))))

    assert (seen, store.to_bytes("a")) == ([[], 1], b"one two")


def test_concurrent_write_is_replaced_and_its_metadata_kept(store: FileSystemStore) -> None:
    store.set_data("a", ActingSource(lambda: put(store, "a", b"concurrent", kind="concurrent")))

    assert pair(store, "a") == (b"one two", {"kind": "concurrent"})


def test_empty_value_is_an_empty_file(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"")

    assert ((root / "a").read_bytes(), store.to_bytes("a")) == (b"", b"")


def test_opening_removes_temporary_files_of_a_killed_process(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    left = root / ".encore" / "tmp" / "0123456789abcdef"
    left.write_bytes(b"half")

    store_in(root)

    assert scratch_in(root) == []


def test_reconnecting_removes_temporary_files_of_a_killed_process(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    store.disconnect()
    (root / ".encore" / "tmp" / "0123456789abcdef").write_bytes(b"half")

    store.connect()

    assert scratch_in(root) == []


def test_opening_keeps_temporary_files_in_use(root: Path, store: FileSystemStore) -> None:
    store.set_data("a", ActingSource(lambda: store_in(root)))

    assert store.to_bytes("a") == b"one two"


def test_temporary_file_that_cannot_be_removed_is_harmless(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    (root / ".encore" / "tmp" / "0").mkdir()
    (root / ".encore" / "tmp" / "1").write_bytes(b"half")

    assert list(store_in(root).query_keys()) == ["a"]
    assert scratch_in(root) == ["0"]


def test_temporary_file_swept_before_it_is_locked_is_recreated(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FileSystemStore] = []

    def lock_too_late(fd: int) -> None:
        if not opened:
            opened.append(store_in(root))
        lock(fd)

    monkeypatch.setattr("encore_storage.stores.filesystem.scratch.lock", lock_too_late)
    store.from_bytes("a", b"1")

    assert (len(opened), store.to_bytes("a"), scratch_in(root)) == (1, b"1", [])


def test_directory_created_by_another_process_is_used(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original_mkdir = os.mkdir

    def mkdir(*arguments: Any, **options: Any) -> None:
        original_mkdir(*arguments, **options)
        original_mkdir(*arguments, **options)

    monkeypatch.setattr(os, "mkdir", mkdir)
    store.from_bytes("a/b", b"1")

    assert store.to_bytes("a/b") == b"1"


def test_file_size_limit_raises_store_full_error_and_changes_nothing(
    root: Path, store: FileSystemStore, small_files: None
) -> None:
    put(store, "a", b"old", kind="old")

    with pytest.raises(StoreFullError, match=r"no space left for .*\.encore/tmp/\w+' \(File too large\)") as caught:
        put(store, "a", bytes(LIMIT + 1), kind="new")

    assert error_type_of(caught.value) == "quota_exceeded"
    assert (pair(store, "a"), scratch_in(root)) == ((b"old", {"kind": "old"}), [])


def test_full_disk_raises_store_full_error_and_changes_nothing(small_disk: Path) -> None:
    store = store_in(small_disk)
    put(store, "a", b"old", kind="old")

    with pytest.raises(StoreFullError, match="no space left for"):
        put(store, "a", bytes(LIMIT), kind="new")

    assert (pair(store, "a"), scratch_in(small_disk)) == ((b"old", {"kind": "old"}), [])


def test_disk_without_free_inodes_raises_store_full_error(small_disk: Path) -> None:
    store = store_in(small_disk)

    with pytest.raises(StoreFullError, match="no space left for"):
        store.multiset_data(map(str, range(12)), [io.BytesIO(b"1") for _ in range(12)])

    assert all(store.to_bytes(key) == b"1" for key in store.query_keys())
    assert scratch_in(small_disk) == []


def test_no_space_error_of_the_source_is_raised_unchanged(store: FileSystemStore) -> None:
    error = OSError(28, "No space left on device", "source")

    with pytest.raises(OSError, match="source") as caught:
        store.set_data("a", Source(b"1", error))

    assert caught.value is error
