"""Metadata, kept apart from the files, and changed in the same moment as they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from encore_storage.errors import IntegrityError, InvalidMetadataError, KeyNotFoundError, error_type_of
from encore_storage.stores import FileSystemStore
from encore_storage.transactions.writing import Change
from tests.storage.filesystem.support import Cut, files_in, left_over, pair, put, store_in
from tests.storage.support import LONG


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


def record_of(root: Path, **record: Any) -> None:
    """Write the record of the one key that has metadata."""
    (file,) = metadata_files(root)
    file.write_text(json.dumps({"key": "a", **record}), encoding="ascii")


def token_of(path: Path, inode: int | None = None) -> list[int]:
    found = path.stat()
    return [found.st_ino if inode is None else inode, found.st_mtime_ns, found.st_size]


def test_what_an_older_version_left_under_way_is_understood(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    upcoming = {"token": token_of(root / "a"), "metadata": {"v": 2}}
    record_of(root, metadata={"v": 1}, next=upcoming)
    assert pair(store, "a") == (b"1", {"v": 2})

    record_of(root, metadata={"v": 1}, next={**upcoming, "token": token_of(root / "a", inode=1)})
    assert pair(store, "a") == (b"1", {"v": 1})
    store.from_bytes("a", b"2")
    assert (pair(store, "a"), left_over(root)) == ((b"2", {"v": 1}), [])


@pytest.mark.parametrize(
    ("announced", "replaced", "expected"),
    [
        ("same", "other", 2),
        ("other", "same", 1),
        ("copy", "other", 2),
        ("other", "copy", 1),
        ("copy", "copy", 1),
        ("same", "copy", 2),
        ("copy", "same", 1),
        ("other", "other", 1),
        ("copy", None, 2),
        ("other", None, 1),
        (None, "same", 1),
        (None, "copy", 1),
        (None, "other", 2),
    ],
)
def test_which_metadata_holds_is_decided_by_the_file_in_copies_too(
    root: Path, store: FileSystemStore, announced: str | None, replaced: str | None, expected: int
) -> None:
    put(store, "a", b"1", v=1)
    tokens = {
        "same": token_of(root / "a"),
        "copy": token_of(root / "a", inode=1),
        "other": [2, 2, 2],
        None: None,
    }

    record_of(
        root,
        metadata={"v": 1},
        next={"token": tokens[announced], "metadata": {"v": 2}, "replaced": tokens[replaced]},
    )

    assert store.get_metadata("a") == {"v": expected}


def mark(root: Path, *names: str) -> None:
    (root / ".encore" / "lock").write_text("".join(f"{name}\n" for name in names), encoding="ascii")


def test_opening_settles_what_is_marked_and_nothing_else(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    upcoming = {"token": token_of(root / "a"), "metadata": {"v": 2}, "replaced": None}
    record_of(root, metadata={"v": 1}, next=upcoming)

    store_in(root)
    assert "next" in json.loads(file.read_bytes())
    mark(root, file.stem)
    store_in(root)

    assert json.loads(file.read_bytes()) == {"key": "a", "metadata": {"v": 2}}
    assert left_over(root) == []


def test_connecting_again_settles_it_too(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    record_of(root, metadata={"v": 1}, next={"token": [1, 1, 1], "metadata": {"v": 2}, "replaced": None})
    mark(root, file.stem)
    store.disconnect()

    store.connect()

    assert json.loads(file.read_bytes()) == {"key": "a", "metadata": {"v": 1}}


@pytest.mark.parametrize("text", ["\0" * 200, "é", "x" * 64, "f" * 64 + "\n", " " * 64 + "\n", "\n" * 500, "f" * 10000])
def test_a_lock_file_with_anything_in_it_is_no_obstacle(root: Path, store: FileSystemStore, text: str) -> None:
    put(store, "a", b"1", v=1)
    (root / ".encore" / "lock").write_text(text, encoding="utf-8")

    store = store_in(root)
    put(store, "a", b"2", v=2)

    assert pair(store_in(root), "a") == (b"2", {"v": 2})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"key": 1, "next": 1}', '{"key": "b", "metadata": {}, "next": {"token": [1]}}']
)
def test_damaged_metadata_that_is_marked_is_left_to_its_readers(root: Path, store: FileSystemStore, text: str) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    file.write_text(text, encoding="ascii")
    mark(root, file.stem, "0" * 64)

    store = store_in(root)

    assert file.read_text(encoding="ascii") == text
    with pytest.raises(IntegrityError):
        store.get("a")


@pytest.mark.parametrize(("token", "expected"), [(None, []), ([1, 1, 1], [{"key": "a", "metadata": {"v": 1}}])])
def test_metadata_without_its_file_is_kept_unless_that_was_deleted(
    root: Path, store: FileSystemStore, token: list[int] | None, expected: list[Any]
) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    record_of(root, metadata={"v": 1}, next={"token": token, "metadata": {}, "replaced": token_of(root / "a")})
    mark(root, file.stem)
    (root / "a").unlink()

    store_in(root)

    assert [json.loads(file.read_bytes()) for file in metadata_files(root)] == expected


def test_opening_waits_for_a_writer_that_is_in_the_middle_of_a_change(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"1", v=1)
    replace, opening = os.replace, list[Thread]()

    def meddle(*arguments: Any, **options: Any) -> None:
        replace(*arguments, **options)
        if arguments[1] == "a":
            opening.append(Thread(target=store_in, args=(root,)))
            opening[0].start()
            opening[0].join(0.1)
            assert opening[0].is_alive()

    monkeypatch.setattr(os, "replace", meddle)
    put(store, "a", b"2", v=2)
    opening[0].join(LONG)

    assert not opening[0].is_alive()
    assert (pair(store, "a"), left_over(root)) == ((b"2", {"v": 2}), [])


def test_what_cannot_be_settled_is_logged_and_understood(unprivileged: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(store_in(unprivileged), "a", b"1", v=1)
    (file,) = metadata_files(unprivileged)
    record_of(
        unprivileged,
        metadata={"v": 1},
        next={"token": token_of(unprivileged / "a"), "metadata": {"v": 2}, "replaced": None},
    )
    mark(unprivileged, file.stem)
    for path in (unprivileged, *(unprivileged / ".encore" / name for name in ("", "tmp", "metadata"))):
        path.chmod(0o555)
    (unprivileged / ".encore" / "lock").chmod(0o444)

    store = store_in(unprivileged)

    assert pair(store, "a") == (b"1", {"v": 2})
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("encore_storage", "WARNING")
    assert f"what a killed process has left under way in '{unprivileged}' could not be settled" in record.getMessage()


def test_marks_of_others_are_kept_by_a_writer(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    mark(root, "0" * 64, " " * 64, "1" * 64)

    put(store, "a", b"2", v=2)
    put(store, "b", b"2", v=2)

    assert (root / ".encore" / "lock").read_text(encoding="ascii").split() == ["0" * 64, "1" * 64]
