"""Tests of metadata changes that a killed process left unfinished, and of the marks in the lock file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from encore_storage.errors import IntegrityError
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import metadata_files, pair, put, store_in, unfinished
from tests.storage.support import LONG


def write_record(root: Path, **record: Any) -> None:
    """Overwrite the only metadata file."""
    (file,) = metadata_files(root)
    file.write_text(json.dumps({"key": "a", **record}), encoding="ascii")


def token_of(path: Path, inode: int | None = None) -> list[int]:
    found = path.stat()
    return [found.st_ino if inode is None else inode, found.st_mtime_ns, found.st_size]


def test_unfinished_change_of_an_older_version_is_understood(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    upcoming = {"token": token_of(root / "a"), "metadata": {"v": 2}}
    write_record(root, metadata={"v": 1}, next=upcoming)
    assert pair(store, "a") == (b"1", {"v": 2})

    write_record(root, metadata={"v": 1}, next={**upcoming, "token": token_of(root / "a", inode=1)})
    assert pair(store, "a") == (b"1", {"v": 1})
    store.from_bytes("a", b"2")
    assert (pair(store, "a"), unfinished(root)) == ((b"2", {"v": 1}), [])


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
def test_file_decides_which_metadata_is_valid(
    root: Path, store: FileSystemStore, announced: str | None, replaced: str | None, expected: int
) -> None:
    put(store, "a", b"1", v=1)
    tokens = {
        "same": token_of(root / "a"),
        "copy": token_of(root / "a", inode=1),
        "other": [2, 2, 2],
        None: None,
    }

    write_record(
        root,
        metadata={"v": 1},
        next={"token": tokens[announced], "metadata": {"v": 2}, "replaced": tokens[replaced]},
    )

    assert store.get_metadata("a") == {"v": expected}


def mark(root: Path, *names: str) -> None:
    (root / ".encore" / "lock").write_text("".join(f"{name}\n" for name in names), encoding="ascii")


def test_opening_resolves_only_marked_changes(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    upcoming = {"token": token_of(root / "a"), "metadata": {"v": 2}, "replaced": None}
    write_record(root, metadata={"v": 1}, next=upcoming)

    store_in(root)
    assert "next" in json.loads(file.read_bytes())
    mark(root, file.stem)
    store_in(root)

    assert json.loads(file.read_bytes()) == {"key": "a", "metadata": {"v": 2}}
    assert unfinished(root) == []


def test_reconnecting_resolves_marked_changes(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    write_record(root, metadata={"v": 1}, next={"token": [1, 1, 1], "metadata": {"v": 2}, "replaced": None})
    mark(root, file.stem)
    store.disconnect()

    store.connect()

    assert json.loads(file.read_bytes()) == {"key": "a", "metadata": {"v": 1}}


@pytest.mark.parametrize("text", ["\0" * 200, "é", "x" * 64, "f" * 64 + "\n", " " * 64 + "\n", "\n" * 500, "f" * 10000])
def test_lock_file_with_any_content_is_accepted(root: Path, store: FileSystemStore, text: str) -> None:
    put(store, "a", b"1", v=1)
    (root / ".encore" / "lock").write_text(text, encoding="utf-8")

    store = store_in(root)
    put(store, "a", b"2", v=2)

    assert pair(store_in(root), "a") == (b"2", {"v": 2})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"key": 1, "next": 1}', '{"key": "b", "metadata": {}, "next": {"token": [1]}}']
)
def test_damaged_metadata_with_a_mark_is_left_unchanged(root: Path, store: FileSystemStore, text: str) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    file.write_text(text, encoding="ascii")
    mark(root, file.stem, "0" * 64)

    store = store_in(root)

    assert file.read_text(encoding="ascii") == text
    with pytest.raises(IntegrityError):
        store.get("a")


@pytest.mark.parametrize(("token", "expected"), [(None, []), ([1, 1, 1], [{"key": "a", "metadata": {"v": 1}}])])
def test_metadata_of_a_missing_file_is_kept_unless_it_was_deleted(
    root: Path, store: FileSystemStore, token: list[int] | None, expected: list[Any]
) -> None:
    put(store, "a", b"1", v=1)
    (file,) = metadata_files(root)
    write_record(root, metadata={"v": 1}, next={"token": token, "metadata": {}, "replaced": token_of(root / "a")})
    mark(root, file.stem)
    (root / "a").unlink()

    store_in(root)

    assert [json.loads(file.read_bytes()) for file in metadata_files(root)] == expected


def test_opening_waits_for_a_change_in_progress(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"1", v=1)
    replace, opening = os.replace, list[Thread]()

    def replace_and_open(*arguments: Any, **options: Any) -> None:
        replace(*arguments, **options)
        if arguments[1] == "a":
            opening.append(Thread(target=store_in, args=(root,)))
            opening[0].start()
            opening[0].join(0.1)
            assert opening[0].is_alive()

    monkeypatch.setattr(os, "replace", replace_and_open)
    put(store, "a", b"2", v=2)
    opening[0].join(LONG)

    assert not opening[0].is_alive()
    assert (pair(store, "a"), unfinished(root)) == ((b"2", {"v": 2}), [])


def test_unresolvable_change_is_logged_and_understood(unprivileged: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(store_in(unprivileged), "a", b"1", v=1)
    (file,) = metadata_files(unprivileged)
    write_record(
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
    assert f"a killed process left unfinished in '{unprivileged}' could not be resolved" in record.getMessage()


def test_marks_of_other_writers_are_kept(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    mark(root, "0" * 64, " " * 64, "1" * 64)

    put(store, "a", b"2", v=2)
    put(store, "b", b"2", v=2)

    assert (root / ".encore" / "lock").read_text(encoding="ascii").split() == ["0" * 64, "1" * 64]
