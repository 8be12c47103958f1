"""Metadata, kept apart from the files, and changed in the same moment as they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from encore_storage.core import Change
from encore_storage.errors import IntegrityError, InvalidMetadataError, KeyNotFoundError, error_type_of
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import Cut, files_in, pair, put, store_in


def metadata_files(root: Path) -> list[Path]:
    return sorted((root / ".encore" / "metadata").glob("*"))


def cut_at_replacement(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process, as it were, before the `number`th time that a file is put in its place."""
    really_replace, calls = os.replace, []

    def replace(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) >= number:
            raise Cut
        really_replace(*arguments, **options)

    monkeypatch.setattr(os, "replace", replace)


def test_metadata_is_json_that_says_whose_it_is(root: Path, store: FileSystemStore) -> None:
    put(store, "a/\udcff", b"1", kind="é", tags=["\ud800", None, 1.5])

    (file,) = metadata_files(root)

    record = {"key": "a/\udcff", "metadata": {"kind": "é", "tags": ["\ud800", None, 1.5]}}
    assert json.loads(file.read_text(encoding="ascii")) == record
    assert store.get_metadata("a/\udcff") == record["metadata"]


def test_no_metadata_takes_no_file(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", b"1")
    put(store, "b", b"1", kind="k")
    put(store, "b", b"2")
    put(store, "c", b"1", kind="k")
    store.set_metadata("c", {})

    assert metadata_files(root) == []
    assert [metadata for _, metadata in store.query()] == [{}, {}, {}]


def test_deleting_a_key_deletes_its_metadata(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")

    store.delete("a")

    assert metadata_files(root) == []


def test_a_new_key_has_nothing_of_a_file_that_another_program_removed(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="old")
    (root / "a").unlink()

    assert not store.exists("a")
    store.from_bytes("a", b"2")

    assert (pair(store, "a"), metadata_files(root)) == ((b"2", {}), [])


def test_a_file_that_another_program_replaces_keeps_its_metadata(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    (root / "a").unlink()
    (root / "a").write_bytes(b"2")

    assert pair(store, "a") == (b"2", {"kind": "k"})


def test_bytes_that_are_kept_are_not_written_again(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    before = (root / "a").stat()

    store.set_metadata("a", {"kind": "l"})
    store.update_metadata("a", {"size": 1})

    after = (root / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert store.get_metadata("a") == {"kind": "l", "size": 1}


def test_metadata_of_another_type_is_other_metadata(store: FileSystemStore) -> None:
    put(store, "a", b"1", flag=1)

    put(store, "a", b"1", flag=True)

    assert store.get_metadata("a")["flag"] is True


def test_writing_nothing_at_all_makes_an_empty_value_or_keeps_what_there_is(store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")

    assert store._put("a", None, None) == Change(is_new=False, metadata={"kind": "k"})
    assert store._put("b", None, None) == Change(is_new=True, metadata={})
    assert (pair(store, "a"), pair(store, "b")) == ((b"1", {"kind": "k"}), (b"", {}))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_leaves_bytes_and_metadata_both_old_or_both_new(
    root: Path, store: FileSystemStore, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old", kind="old")
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at_replacement(number, patch)
        put(store, "a", b"new", kind="new")
    expected = (b"old", {"kind": "old"}) if number < 3 else (b"new", {"kind": "new"})

    store = store_in(root)

    assert pair(store, "a") == expected
    store.from_bytes("a", b"newer")  # what was left unfinished must not hold on
    assert pair(store, "a") == (b"newer", expected[1])
    store.update_metadata("a", {"more": 1})
    assert pair(store, "a") == (b"newer", {**expected[1], "more": 1})


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_leaves_a_new_key_missing_or_whole(
    root: Path, store: FileSystemStore, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at_replacement(number, patch)
        put(store, "a/b", b"new", kind="new")

    assert list(store_in(root).query()) == [("a/b", {"kind": "new"})][: number == 3]
    assert (root / "a").exists() == (number == 3)


def test_what_a_killed_process_announced_does_not_haunt_a_file_of_that_name(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_at_replacement(2, patch)
        put(store, "a", b"new", kind="new")

    (root / "a").write_bytes(b"new")

    assert pair(store, "a") == (b"new", {})


def test_a_value_that_is_replaced_during_its_look_up_is_looked_up_again(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old", kind="old")
    really_load, others = store._metadata.load, iter((b"newer", b"newest"))

    def load(*arguments: Any) -> dict[str, Any]:
        for data in others:
            put(store_in(root), "a", data, kind=data.decode())
            break
        return really_load(*arguments)

    monkeypatch.setattr(store._metadata, "load", load)

    assert pair(store, "a") == (b"newest", {"kind": "newest"})


def test_a_value_that_is_deleted_during_its_look_up_is_missing(
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
def test_damaged_metadata_is_told_with_its_file_and_changes_nothing(
    root: Path, store: FileSystemStore, damage: bytes
) -> None:
    put(store, "a", b"1", kind="k")
    (file,) = metadata_files(root)
    file.write_bytes(damage)
    before = files_in(root)

    for call in (store.get, store.delete, lambda key: store.from_bytes(key, b"2")):
        with pytest.raises(IntegrityError, match=f"key 'a' is damaged: mend the file '{file}'") as caught:
            call("a")
        assert error_type_of(caught.value) == "integrity"

    assert files_in(root) == before
    file.unlink()
    assert pair(store, "a") == (b"1", {})


def test_damaged_metadata_can_be_replaced(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    metadata_files(root)[0].write_bytes(b"{")

    store.set_metadata("a", {"kind": "mended"})

    assert pair(store, "a") == (b"1", {"kind": "mended"})


def test_metadata_that_json_cannot_hold_is_refused_before_anything_is_written(
    root: Path, store: FileSystemStore
) -> None:
    put(store, "a", b"1", kind="k")
    before = files_in(root)

    with pytest.raises(InvalidMetadataError, match="16610 bits"):
        put(store, "a", b"2", number=10**5000)

    assert files_in(root) == before
