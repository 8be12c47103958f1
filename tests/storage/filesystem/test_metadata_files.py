"""Tests of the metadata files of FileSystemStore, which change in the same moment as the values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from encore_storage.errors import IntegrityError, InvalidMetadataError, KeyNotFoundError, error_type_of
from encore_storage.stores import FileSystemStore
from encore_storage.transactions.writing import Change
from tests.storage.filesystem.support import Killed, files_in, metadata_files, pair, put, store_in


def kill_at_replacement(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a kill before the nth replacement of a file."""
    original_replace, calls = os.replace, []

    def replace(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) >= number:
            raise Killed
        original_replace(*arguments, **options)

    monkeypatch.setattr(os, "replace", replace)


def test_metadata_file_is_json_with_its_key(root: Path, store: FileSystemStore) -> None:
    put(store, "a/\udcff", b"1", kind="é", tags=["\ud800", None, 1.5])

    (file,) = metadata_files(root)

    record = {"key": "a/\udcff", "metadata": {"kind": "é", "tags": ["\ud800", None, 1.5]}}
    assert json.loads(file.read_text(encoding="ascii")) == record
    assert store.get_metadata("a/\udcff") == record["metadata"]


def test_empty_metadata_has_no_file(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    put(store, "b", b"1", kind="k")
    put(store, "b", b"2")
    put(store, "c", b"1", kind="k")
    store.set_metadata("c", {})

    assert metadata_files(root) == []
    assert [metadata for _, metadata in store.query()] == [{}, {}, {}]


def test_delete_removes_the_metadata_file(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")

    store.delete("a")

    assert metadata_files(root) == []


def test_new_key_gets_no_metadata_of_a_file_removed_by_another_program(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="old")
    (root / "a").unlink()

    assert not store.exists("a")
    store.from_bytes("a", b"2")

    assert (pair(store, "a"), metadata_files(root)) == ((b"2", {}), [])


def test_file_replaced_by_another_program_keeps_its_metadata(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    (root / "a").unlink()
    (root / "a").write_bytes(b"2")

    assert pair(store, "a") == (b"2", {"kind": "k"})


def test_metadata_change_does_not_rewrite_the_file(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    before = (root / "a").stat()

    store.set_metadata("a", {"kind": "l"})
    store.update_metadata("a", {"size": 1})

    after = (root / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert store.get_metadata("a") == {"kind": "l", "size": 1}


def test_metadata_of_another_type_is_different(store: FileSystemStore) -> None:
    put(store, "a", b"1", flag=1)

    put(store, "a", b"1", flag=True)

    assert store.get_metadata("a")["flag"] is True


def test_put_of_nothing_creates_an_empty_value_or_keeps_the_old_one(store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")

    assert store._put("a", None, None) == Change(is_new=False, metadata={"kind": "k"})
    assert store._put("b", None, None) == Change(is_new=True, metadata={})
    assert (pair(store, "a"), pair(store, "b")) == ((b"1", {"kind": "k"}), (b"", {}))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_kill_leaves_bytes_and_metadata_both_old_or_both_new(
    root: Path, store: FileSystemStore, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old", kind="old")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at_replacement(number, patch)
        put(store, "a", b"new", kind="new")
    expected = (b"old", {"kind": "old"}) if number < 3 else (b"new", {"kind": "new"})

    store = store_in(root)

    assert pair(store, "a") == expected
    store.from_bytes("a", b"newer")  # the unfinished change must not persist
    assert pair(store, "a") == (b"newer", expected[1])
    store.update_metadata("a", {"more": 1})
    assert pair(store, "a") == (b"newer", {**expected[1], "more": 1})


@pytest.mark.parametrize("number", [1, 2, 3])
def test_kill_leaves_a_new_key_missing_or_whole(
    root: Path, store: FileSystemStore, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at_replacement(number, patch)
        put(store, "a/b", b"new", kind="new")

    assert list(store_in(root).query()) == [("a/b", {"kind": "new"})][: number == 3]
    assert (root / "a").exists() == (number == 3)


def test_announced_metadata_of_a_killed_process_is_not_applied_to_another_file(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at_replacement(2, patch)
        put(store, "a", b"new", kind="new")

    (root / "a").write_bytes(b"new")

    assert pair(store, "a") == (b"new", {})


def test_value_replaced_during_its_lookup_is_looked_up_again(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old", kind="old")
    original_load, others = store._metadata.load, iter((b"newer", b"newest"))

    def load(*arguments: Any) -> dict[str, Any]:
        for data in others:
            put(store_in(root), "a", data, kind=data.decode())
            break
        return original_load(*arguments)

    monkeypatch.setattr(store._metadata, "load", load)

    assert pair(store, "a") == (b"newest", {"kind": "newest"})


def test_value_deleted_during_its_lookup_is_missing(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old", kind="old")
    monkeypatch.setattr(store._metadata, "load", lambda *arguments: store_in(root).delete("a"))

    with pytest.raises(KeyNotFoundError):
        store.get("a")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"key": "a"}',
        b'{"key": "a", "metadata": []}',
        b'{"key": "b", "metadata": {}}',
        b'{"key": "a", "metadata": {"x": NaN}}',
        b'{"key": "a", "next": 1}',
    ],
)
def test_damaged_metadata_error_names_its_file_and_changes_nothing(
    root: Path, store: FileSystemStore, damage: bytes
) -> None:
    put(store, "a", b"1", kind="k")
    (file,) = metadata_files(root)
    file.write_bytes(damage)
    before = files_in(root)

    for call in (store.get, store.delete, lambda key: store.from_bytes(key, b"2")):
        with pytest.raises(IntegrityError, match=f"key 'a' is damaged: repair the file '{file}'") as caught:
            call("a")
        assert error_type_of(caught.value) == "integrity"

    assert files_in(root) == before
    file.unlink()
    assert pair(store, "a") == (b"1", {})


def test_damaged_metadata_can_be_replaced(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    metadata_files(root)[0].write_bytes(b"{")

    store.set_metadata("a", {"kind": "repaired"})

    assert pair(store, "a") == (b"1", {"kind": "repaired"})


def test_metadata_that_json_cannot_hold_is_rejected_unwritten(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    before = files_in(root)

    with pytest.raises(InvalidMetadataError, match="16610 bits"):
        put(store, "a", b"2", number=10**5000)

    assert files_in(root) == before
