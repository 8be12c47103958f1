"""Tests of queries of FileSystemStore by metadata, which read little of the keys that do not match."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encore_storage.errors import IntegrityError
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import metadata_files, put
from tests.storage.support import open_files


def test_query_returns_matches_in_the_order_of_keys(store: FileSystemStore) -> None:
    for key in ("b", "a/z", "a/b/c", "a.txt", "c"):
        put(store, key, b"", kind="c" if key == "c" else "k")
    store.from_bytes("plain", b"")

    assert list(store.query_keys(kind="k")) == ["a/b/c", "a/z", "a.txt", "b"]
    assert list(store.query(kind="c")) == [("c", {"kind": "c"})]
    assert list(store.query_keys(kind="none")) == []


def test_directory_without_metadata_matches_nothing(root: Path, store: FileSystemStore) -> None:
    (root / "a").write_bytes(b"1")

    assert list(store.query_keys(kind=None)) == []
    assert list(store.query()) == [("a", {})]


@pytest.mark.parametrize(("is_new", "kind"), [(True, "new"), (False, "old")])
def test_query_finds_the_metadata_of_an_unfinished_change(
    root: Path, store: FileSystemStore, is_new: bool, kind: str
) -> None:
    put(store, "a", b"1", kind="old")
    found = (root / "a").stat()
    token = [found.st_ino if is_new else 1, found.st_mtime_ns if is_new else 1, 1]
    upcoming = {"token": token, "metadata": {"kind": "new"}, "replaced": None}
    (file,) = metadata_files(root)
    file.write_text(json.dumps({**json.loads(file.read_text()), "next": upcoming}))

    assert [[*store.query_keys(kind=each)] for each in ("old", "new")] == [
        ["a"] if each == kind else [] for each in ("old", "new")
    ]


@pytest.mark.parametrize(
    "damage",
    [
        *("", "{", "[]", "null", "{}", '{"key": "a"}', '{"metadata": {"kind": "k"}}'),
        '{"key": "b", "metadata": {"kind": "k"}}',
        '{"key": "a", "metadata": {"kind": "k"}, "key": "b"}',
        *(f'{{"key": "a", "metadata": {each}}}' for each in ("null", "[]", '"kind"', '[["kind", "k"]]')),
        *(f'{{"key": "a", "metadata": {{"x": {each}}}}}' for each in ("NaN", "-Infinity", "1e999", '[{"y": NaN}]')),
        f'{{"key": "a", "metadata": {{"x": {"1" * 5000}}}}}',
        *(f'{{"key": "a", "metadata": {{}}, "next": {each}}}' for each in ("1", "false", "[]", "{}", '{"token": [1]}')),
        '{"key": "a", "metadata": {"kind": "k"}, "next": {"metadata": {"kind": "l"}}}',
        '{"key": "a", "metadata": {"x": NaN}, "next": {"token": [1, 1, 1], "metadata": {}, "replaced": null}}',
    ],
)
def test_query_that_reaches_damaged_metadata_raises_integrity_error(
    root: Path, store: FileSystemStore, damage: str
) -> None:
    put(store, "a", b"1", kind="k")
    metadata_files(root)[0].write_text(damage)

    with pytest.raises(IntegrityError, match="key 'a' is damaged"):
        list(store.query_keys(kind="other"))
    (root / "a").unlink()
    assert list(store.query_keys(kind="other")) == []


def test_metadata_of_a_removed_file_is_not_found(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    put(store, "b", b"1", kind="k")
    (root / "a").unlink()

    assert list(store.query_keys(kind="k")) == ["b"]


@pytest.mark.parametrize("wanted", [{}, {"kind": "k"}])
def test_nothing_is_open_between_two_results(store: FileSystemStore, wanted: dict[str, str]) -> None:
    for key in ("a/1", "b", "c"):
        put(store, key, b"", kind="k")
    before = open_files()
    items = store.query(**wanted)

    assert [open_files() for _ in items] == [before] * 3
