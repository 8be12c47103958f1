"""Tests of the directory of FileSystemStore: which are accepted, and how their files appear."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from encore_storage.errors import StoreConnectionError, error_type_of
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import files_in, pair, put, scratch_in, store_in


def test_files_of_an_existing_directory_are_values(root: Path) -> None:
    (root / "reports").mkdir()
    (root / "reports" / "q3.csv").write_bytes(b"a,b\n")
    (root / "notes").write_bytes(b"")
    (root / "empty").mkdir()
    store = store_in(root)

    assert list(store.query()) == [("notes", {}), ("reports/q3.csv", {})]
    assert pair(store, "reports/q3.csv") == (b"a,b\n", {})


def test_reading_writes_nothing(root: Path) -> None:
    (root / "notes").write_bytes(b"n")
    store = store_in(root)

    assert (list(store.query()), store.to_bytes("notes"), store.exists("other")) == ([("notes", {})], b"n", False)
    assert files_in(root) == {"notes": b"n"}


def test_value_is_an_ordinary_file(root: Path, store: FileSystemStore) -> None:
    put(store, "reports/q3.csv", b"a,b\n", kind="csv")

    assert (root / "reports" / "q3.csv").read_bytes() == b"a,b\n"


def test_created_and_modified_are_those_of_the_file(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    os.utime(root / "a", (1000.0, 2000.5))

    value = store.get("a")

    assert (value.modified, value.created) == (2000.5, 2000.5)


def test_missing_directory_is_created_with_its_parents(tmp_path: Path) -> None:
    store = store_in(tmp_path / "a" / "b")

    store.from_bytes("key", b"1")

    assert (tmp_path / "a" / "b" / "key").read_bytes() == b"1"


def test_missing_directory_is_rejected_without_create(tmp_path: Path) -> None:
    with pytest.raises(
        StoreConnectionError, match=r"directory .*missing.* does not exist: create it, or .*create=True"
    ):
        store_in(tmp_path / "missing", create=False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("path", ["file", "file/below"])
def test_file_as_directory_is_rejected(tmp_path: Path, path: str, create: bool) -> None:
    (tmp_path / "file").write_bytes(b"1")

    with pytest.raises(StoreConnectionError, match=r"/file.*is not a directory: use the path") as caught:
        store_in(tmp_path / path, create=create)

    assert error_type_of(caught.value) == "connection"


def test_link_to_a_directory_is_resolved(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)

    store = store_in(tmp_path / "link")

    assert store.path == str(root)


def test_relative_path_is_resolved_when_the_store_is_made(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    store = FileSystemStore(".", event_manager=store_in(root).event_manager)
    monkeypatch.chdir(tmp_path)

    store.from_bytes("a", b"1")

    assert (root / "a").exists()


def test_vanished_directory_raises_connection_error(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    shutil.rmtree(root)

    with pytest.raises(StoreConnectionError):
        store.exists("a")
    with pytest.raises(StoreConnectionError):
        list(store.query_keys())


def test_reconnecting_checks_the_directory(root: Path) -> None:
    store = store_in(root, create=False)
    store.disconnect()
    root.rmdir()

    with pytest.raises(StoreConnectionError):
        store.connect()

    assert not store.is_connected()


def test_system_without_dir_fd_is_rejected(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())

    with pytest.raises(StoreConnectionError, match="POSIX"):
        store_in(root)


def test_info(store: FileSystemStore) -> None:
    assert store.info() == {"name": "filesystem", "backend": "filesystem", "transactional": False, "readonly": False}


def test_keys_are_sorted_without_the_own_directory(root: Path, store: FileSystemStore) -> None:
    for key in ("b", "a/z", "a/b/c", "a.txt", "a/b.txt"):
        put(store, key, b"", kind="k")
    (root / ".ENCORE").mkdir()
    (root / ".ENCORE" / "own").write_bytes(b"")

    assert list(store.query_keys()) == ["a/b/c", "a/b.txt", "a/z", "a.txt", "b"]


def test_list_opens_only_directories_that_can_contain_the_prefix(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a/b/1", "a/bc/2", "a/c/3", "ab/4", "a-5"):
        store.from_bytes(key, b"1")
    opened, listed = [], store._tree._listed

    def recorded(path: str) -> list[tuple[str, bool]]:
        opened.append(path)
        return listed(path)

    monkeypatch.setattr(store._tree, "_listed", recorded)

    assert [each.key for each in store.list("a/b")] == ["a/b/1", "a/bc/2"]
    assert opened == ["", "a", "a/b", "a/bc"]


def test_files_that_vanish_during_a_query_are_skipped(root: Path, store: FileSystemStore) -> None:
    for key in ("a", "b/1", "c/1", "d"):
        put(store, key, b"", kind="k")
    keys, items = store.query_keys(), store.query(kind="k")

    assert (next(keys), next(items)) == ("a", ("a", {"kind": "k"}))
    shutil.rmtree(root / "b")
    shutil.rmtree(root / "c")
    (root / "c").write_bytes(b"no directory any more")
    (root / "d").unlink()

    assert (list(keys), list(items)) == (["b/1", "c/1", "d"], [])  # the keys are those of the first `next`


def test_unreadable_directory_raises_permission_error(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    store.from_bytes("a/b", b"1")
    (unprivileged / "a").chmod(0)

    with pytest.raises(PermissionError, match=f"{unprivileged}/a"):
        list(store.query_keys())
    with pytest.raises(PermissionError, match=f"{unprivileged}/a"):
        store.get("a/b")


def test_unreadable_file_error_names_the_path(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    store.from_bytes("a", b"1")
    (unprivileged / "a").chmod(0)

    with pytest.raises(PermissionError, match=f"{unprivileged}/a"):
        store.to_bytes("a")


def test_unwritable_directory_can_be_read(unprivileged: Path) -> None:
    (unprivileged / "a").write_bytes(b"1")
    unprivileged.chmod(0o500)
    store = store_in(unprivileged)

    assert (store.to_bytes("a"), list(store.query_keys())) == (b"1", ["a"])
    with pytest.raises(PermissionError, match=str(unprivileged)):
        store.from_bytes("b", b"2")


def test_uncreatable_directory_error_names_the_path(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)

    with pytest.raises(PermissionError, match=str(unprivileged)):
        store_in(unprivileged / "a")


def test_failed_write_leaves_nothing_behind(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    store.from_bytes("a/b", b"1")
    (unprivileged / "a").chmod(0o500)

    with pytest.raises(PermissionError, match=f"{unprivileged}/a/c"):
        store.from_bytes("a/c", b"2")

    assert list(store.query_keys()) == ["a/b"]
    assert scratch_in(unprivileged) == []


def test_new_file_has_default_permissions_and_a_replaced_one_keeps_its_own(root: Path, store: FileSystemStore) -> None:
    default = root / "default"
    default.write_bytes(b"")
    store.from_bytes("script", b"1")
    made = (root / "script").stat().st_mode
    (root / "script").chmod(0o777)

    store.from_bytes("script", b"2")

    assert made == default.stat().st_mode
    assert stat.S_IMODE((root / "script").stat().st_mode) == 0o777
