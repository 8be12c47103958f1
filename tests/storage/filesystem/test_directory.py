"""The directory of a store: which one can be used, and what is made of it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from encore_storage.errors import StoreConnectionError, error_type_of
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import files_in, pair, put, scratch_in, store_in


def test_the_files_of_an_existing_directory_are_its_values(root: Path) -> None:
    (root / "reports").mkdir()
    (root / "reports" / "q3.csv").write_bytes(b"a,b\n")
    (root / "notes").write_bytes(b"")
    (root / "empty").mkdir()
    store = store_in(root)

    assert list(store.query()) == [("notes", {}), ("reports/q3.csv", {})]
    assert pair(store, "reports/q3.csv") == (b"a,b\n", {})


def test_reading_a_directory_writes_nothing_into_it(root: Path) -> None:
    (root / "notes").write_bytes(b"n")
    store = store_in(root)

    assert (list(store.query()), store.to_bytes("notes"), store.exists("other")) == ([("notes", {})], b"n", False)
    assert files_in(root) == {"notes": b"n"}


def test_a_value_is_a_file_that_other_programs_can_read(root: Path, store: FileSystemStore) -> None:
    put(store, "reports/q3.csv", b"a,b\n", kind="csv")

    assert (root / "reports" / "q3.csv").read_bytes() == b"a,b\n"


def test_a_value_knows_when_it_was_made_and_modified(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    os.utime(root / "a", (1000.0, 2000.5))

    value = store.get("a")

    assert (value.modified, value.created) == (2000.5, 2000.5)


def test_a_missing_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    store = store_in(tmp_path / "a" / "b")

    store.from_bytes("key", b"1")

    assert (tmp_path / "a" / "b" / "key").read_bytes() == b"1"


def test_a_missing_directory_is_refused_where_none_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreConnectionError, match=r"there is no directory .*missing.*: make it, or .*create=True"):
        store_in(tmp_path / "missing", create=False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("path", ["file", "file/below"])
def test_what_is_not_a_directory_is_refused(tmp_path: Path, path: str, create: bool) -> None:
    (tmp_path / "file").write_bytes(b"1")

    with pytest.raises(StoreConnectionError, match=r"/file.*is not a directory: give one") as caught:
        store_in(tmp_path / path, create=create)

    assert error_type_of(caught.value) == "connection"


def test_a_link_to_a_directory_is_as_good_as_the_directory(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)

    store = store_in(tmp_path / "link")

    assert store.path == str(root)


def test_a_relative_path_stays_what_it_was_when_the_process_moves(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    store = FileSystemStore(".", event_manager=store_in(root).event_manager)
    monkeypatch.chdir(tmp_path)

    store.from_bytes("a", b"1")

    assert (root / "a").exists()


def test_a_directory_that_vanishes_is_a_lost_connection_and_no_missing_key(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    shutil.rmtree(root)

    with pytest.raises(StoreConnectionError):
        store.exists("a")
    with pytest.raises(StoreConnectionError):
        list(store.query_keys())


def test_connecting_again_looks_for_the_directory_again(root: Path) -> None:
    store = store_in(root, create=False)
    store.disconnect()
    root.rmdir()

    with pytest.raises(StoreConnectionError):
        store.connect()

    assert not store.is_connected()


def test_a_system_that_cannot_open_files_relative_to_others_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())

    with pytest.raises(StoreConnectionError, match="POSIX"):
        store_in(root)


def test_it_says_what_it_is(store: FileSystemStore) -> None:
    assert store.info() == {"name": "filesystem", "backend": "filesystem", "transactional": False, "readonly": False}


def test_files_are_listed_in_order_and_without_what_is_the_stores_own(root: Path, store: FileSystemStore) -> None:
    for key in ("b", "a/z", "a/b/c", "a.txt", "a/b.txt"):
        put(store, key, b"", kind="k")
    (root / ".ENCORE").mkdir()
    (root / ".ENCORE" / "own").write_bytes(b"")

    assert list(store.query_keys()) == ["a/b/c", "a/b.txt", "a/z", "a.txt", "b"]


def test_what_vanishes_while_it_is_listed_is_passed_over(root: Path, store: FileSystemStore) -> None:
    for key in ("a", "b/1", "c/1", "d"):
        put(store, key, b"", kind="k")
    keys, items = store.query_keys(), store.query(kind="k")

    assert (next(keys), next(items)) == ("a", ("a", {"kind": "k"}))
    shutil.rmtree(root / "b")
    shutil.rmtree(root / "c")
    (root / "c").write_bytes(b"no directory any more")
    (root / "d").unlink()

    assert (list(keys), list(items)) == (["d"], [])


def test_a_directory_that_must_not_be_read_is_an_error_and_no_silence(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    store.from_bytes("a/b", b"1")
    (unprivileged / "a").chmod(0)

    with pytest.raises(PermissionError, match=f"{unprivileged}/a"):
        list(store.query_keys())
    with pytest.raises(PermissionError, match=f"{unprivileged}/a"):
        store.get("a/b")


def test_a_file_that_must_not_be_read_is_named(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    store.from_bytes("a", b"1")
    (unprivileged / "a").chmod(0)

    with pytest.raises(PermissionError, match=f"{unprivileged}/a"):
        store.to_bytes("a")


def test_a_directory_that_must_not_be_written_can_be_read(unprivileged: Path) -> None:
    (unprivileged / "a").write_bytes(b"1")
    unprivileged.chmod(0o500)
    store = store_in(unprivileged)

    assert (store.to_bytes("a"), list(store.query_keys())) == (b"1", ["a"])
    with pytest.raises(PermissionError, match=str(unprivileged)):
        store.from_bytes("b", b"2")


def test_a_directory_that_must_not_be_made_is_named(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)

    with pytest.raises(PermissionError, match=str(unprivileged)):
        store_in(unprivileged / "a")


def test_a_failed_write_leaves_no_directory_behind(unprivileged: Path) -> None:
    store = store_in(unprivileged)
    store.from_bytes("a/b", b"1")
    (unprivileged / "a").chmod(0o500)

    with pytest.raises(PermissionError, match=f"{unprivileged}/a/c"):
        store.from_bytes("a/c", b"2")

    assert list(store.query_keys()) == ["a/b"]
    assert scratch_in(unprivileged) == []


def test_a_new_file_has_the_usual_permissions_and_a_replaced_one_its_own(root: Path, store: FileSystemStore) -> None:
    usual = root / "usual"
    usual.write_bytes(b"")
    store.from_bytes("script", b"1")
    made = (root / "script").stat().st_mode
    (root / "script").chmod(0o777)

    store.from_bytes("script", b"2")

    assert made == usual.stat().st_mode
    assert stat.S_IMODE((root / "script").stat().st_mode) == 0o777
