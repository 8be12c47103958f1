"""A set replaces a file as a whole or not at all, and leaves nothing half written behind."""

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
from tests.storage.filesystem.support import Cut, Meddling, pair, put, scratch_in, store_in
from tests.storage.support import Source

LIMIT = 1 << 20


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond a mebibyte."""
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
        pytest.skip("only root can mount a small disk; a limit of the size of files is tested for all")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt(), Cut()], ids=repr)
def test_a_source_that_fails_leaves_bytes_and_metadata_as_they_were(
    root: Path, store: FileSystemStore, error: BaseException
) -> None:
    put(store, "a", b"old", kind="old")

    for key in ("a", "b/c"):
        with pytest.raises(type(error)):
            store.set(key, (Source(b"new ", error), {"kind": "new"}))

    assert (list(store.query()), store.to_bytes("a")) == ([("a", {"kind": "old"})], b"old")
    assert scratch_in(root) == []
    assert not (root / "b").exists()


def test_what_is_half_written_is_no_key(root: Path, store: FileSystemStore) -> None:
    seen: list[object] = []

    store.set_data("a", Meddling(lambda: seen.extend((list(store.query_keys()), len(scratch_in(root))))))

    assert (seen, store.to_bytes("a")) == ([[], 1], b"one two")


def test_a_write_that_comes_between_is_replaced_and_its_metadata_kept(store: FileSystemStore) -> None:
    store.set_data("a", Meddling(lambda: put(store, "a", b"between", kind="between")))

    assert pair(store, "a") == (b"one two", {"kind": "between"})


def test_an_empty_value_is_an_empty_file(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"")

    assert ((root / "a").read_bytes(), store.to_bytes("a")) == (b"", b"")


def test_opening_removes_what_a_killed_process_has_left(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    left = root / ".encore" / "tmp" / "0123456789abcdef"
    left.write_bytes(b"half")

    store_in(root)

    assert scratch_in(root) == []


def test_connecting_again_removes_it_too(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    store.disconnect()
    (root / ".encore" / "tmp" / "0123456789abcdef").write_bytes(b"half")

    store.connect()

    assert scratch_in(root) == []


def test_opening_leaves_alone_what_is_being_written(root: Path, store: FileSystemStore) -> None:
    store.set_data("a", Meddling(lambda: store_in(root)))

    assert store.to_bytes("a") == b"one two"


def test_what_cannot_be_removed_does_no_harm(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    (root / ".encore" / "tmp" / "0").mkdir()
    (root / ".encore" / "tmp" / "1").write_bytes(b"half")

    assert list(store_in(root).query_keys()) == ["a"]
    assert scratch_in(root) == ["0"]


def test_a_file_that_is_swept_away_before_it_is_locked_is_made_anew(
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


def test_a_directory_that_another_process_makes_first_will_do(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_make = os.mkdir

    def mkdir(*arguments: Any, **options: Any) -> None:
        really_make(*arguments, **options)
        really_make(*arguments, **options)

    monkeypatch.setattr(os, "mkdir", mkdir)
    store.from_bytes("a/b", b"1")

    assert store.to_bytes("a/b") == b"1"


def test_no_room_is_told_as_such_and_changes_nothing(root: Path, store: FileSystemStore, small_files: None) -> None:
    put(store, "a", b"old", kind="old")

    with pytest.raises(StoreFullError, match=r"there is no room for .*\.encore/tmp/\w+': File too large") as caught:
        put(store, "a", bytes(LIMIT + 1), kind="new")

    assert error_type_of(caught.value) == "quota_exceeded"
    assert (pair(store, "a"), scratch_in(root)) == ((b"old", {"kind": "old"}), [])


def test_a_full_disk_is_told_as_such_and_changes_nothing(small_disk: Path) -> None:
    store = store_in(small_disk)
    put(store, "a", b"old", kind="old")

    with pytest.raises(StoreFullError, match="there is no room for"):
        put(store, "a", bytes(LIMIT), kind="new")

    assert (pair(store, "a"), scratch_in(small_disk)) == ((b"old", {"kind": "old"}), [])


def test_a_disk_with_no_room_for_more_files_is_told_as_full(small_disk: Path) -> None:
    store = store_in(small_disk)

    with pytest.raises(StoreFullError, match="there is no room for"):
        store.multiset_data(map(str, range(12)), [io.BytesIO(b"1") for _ in range(12)])

    assert all(store.to_bytes(key) == b"1" for key in store.query_keys())
    assert scratch_in(small_disk) == []


def test_a_sources_own_lack_of_room_is_not_the_stores(store: FileSystemStore) -> None:
    error = OSError(28, "No space left on device", "source")

    with pytest.raises(OSError, match="source") as caught:
        store.set_data("a", Source(b"1", error))

    assert caught.value is error
