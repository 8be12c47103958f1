"""Tests of the keys of FileSystemStore: each is a path below the root, or rejected."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from encore_storage.errors import InvalidKeyError
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import files_in, pair, put, store_in

NAMES = st.sampled_from(["a", "A", "b", "..", ".", "", ".encore", ".ENCORE", "CON", "\\", "..\\x", "é", "\udcff", "~"])
KEYS = st.lists(NAMES | st.text(max_size=5), max_size=5).map("/".join) | st.text(max_size=8)

REJECTED = {
    "": "it is empty",
    "../x": r"it contains the path component '\.' or '\.\.'",
    "a/../../x": r"it contains the path component '\.' or '\.\.'",
    "..": r"it contains the path component '\.' or '\.\.'",
    ".": r"it contains the path component '\.' or '\.\.'",
    "a/./b": r"it contains the path component '\.' or '\.\.'",
    "/etc/passwd": "it begins or ends with '/'",
    "/": "it begins or ends with '/'",
    "a//b": "or contains '//'",
    "a/": "it begins or ends with '/'",
    "a\0b": "it contains a NUL character",
    "x" * 5000: "it contains a name longer than 255 bytes",
    "é" * 128: "it contains a name longer than 255 bytes",
    "x/" * 2499 + "xx": "its path is longer than 4095 bytes",
    "\ud800": "it contains characters that no file name can have",
    "\udcc3\udca9": "its surrogates spell 'é', which is another key",
    ".encore": r"'\.encore' is the store's own directory",
    ".encore/lock": r"'\.encore' is the store's own directory",
    ".ENCORE/tmp/x": r"'\.encore' is the store's own directory",
}
ROUND_TRIPPING = {
    "short": "a",
    "deep": "a/b/c/d/e",
    "a name of the greatest length": "x" * 255,
    "several names of legal length": "/".join(["x" * 250] * 15),
    "a device name on Windows": "CON",
    "a device name with an extension": "nul.txt",
    "a drive on Windows": "C:",
    "backslashes": "..\\..\\x",
    "newline and emoji": "line\nbreak 🎉",
    "not normalised": "e\u0301",
    "spaces and dots": " a . / ..b.. ",
    "not UTF-8": "\udcff\udc80",
    "a home directory of a shell": "~root",
    "an option of a shell": "-rf",
    "the own directory's name further down": "a/.encore",
    "hidden": ".hidden",
    "a shell pattern": "*?[a]",
}


@pytest.mark.parametrize("key", REJECTED, ids=lambda key: ascii(key[:20]))
def test_invalid_key_is_rejected(tmp_path: Path, root: Path, store: FileSystemStore, key: str) -> None:
    before = files_in(tmp_path)

    for call in (store.get, store.exists, store.to_bytes, store.delete, lambda key: store.from_bytes(key, b"1")):
        with pytest.raises(InvalidKeyError, match=f"cannot be a key: .*{REJECTED[key]}"):
            call(key)

    assert files_in(tmp_path) == before


@pytest.mark.parametrize("key", ROUND_TRIPPING.values(), ids=ROUND_TRIPPING)
def test_valid_key_round_trips(root: Path, store: FileSystemStore, key: str) -> None:
    put(store, key, b"1", kind="k")

    assert pair(store, key) == (b"1", {"kind": "k"})
    assert list(store_in(root).query()) == [(key, {"kind": "k"})]
    assert (root / key).read_bytes() == b"1"
    store.delete(key)
    assert list(store.query()) == []


def test_file_name_that_is_not_utf8_is_a_key(root: Path, store: FileSystemStore) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).write_bytes(b"1")

    (key,) = store.query_keys()

    assert (key, store.to_bytes(key)) == ("caf\udce9", b"1")


def test_keys_are_case_sensitive(root: Path, store: FileSystemStore) -> None:
    if (root.parent / root.name.upper()).exists():
        pytest.skip("this file system ignores case")
    put(store, "dir/key", b"lower", case="lower")
    put(store, "Dir/KEY", b"upper", case="upper")

    assert pair(store, "dir/key") == (b"lower", {"case": "lower"})
    assert pair(store, "Dir/KEY") == (b"upper", {"case": "upper"})


@given(KEYS, KEYS)
@example("a", "a/b")
@example("a/b", "a")
@example("a", "A")
def test_key_affects_no_other_file(key: str, other: str) -> None:
    with tempfile.TemporaryDirectory() as box:
        (Path(box) / "x").write_bytes(b"outside")
        root = Path(box) / "a" / "root"
        store = store_in(root)
        stored = {}
        for index, each in enumerate((key, other)):
            with contextlib.suppress(InvalidKeyError):
                put(store, each, b"%d" % index, index=index)
                stored[each] = (b"%d" % index, {"index": index})

        assert {each: pair(store, each) for each in store.query_keys()} == stored
        for each in stored:
            store.delete(each)
        left = files_in(Path(box))
        assert {path for path in left if not path.startswith("a/root/.encore")} == {"a", "a/root", "x"}
        assert left["x"] == b"outside"


def test_key_of_a_directory_is_rejected(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a/b", b"1")

    with pytest.raises(InvalidKeyError, match="'a' cannot be a key: a directory exists at its path"):
        store.from_bytes("a", b"2")
    with pytest.raises(InvalidKeyError, match="'a' cannot be a key: a directory exists at its path"):
        store.set_metadata("a", {})

    assert (store.exists("a"), store.to_bytes("a/b")) == (False, b"1")


@pytest.mark.parametrize("key", ["a/b", "a/b/c"])
def test_key_below_a_file_is_rejected(root: Path, store: FileSystemStore, key: str) -> None:
    store.from_bytes("a", b"1")

    with pytest.raises(InvalidKeyError, match=f"'{key}' cannot be a key: one of its parents is not a directory"):
        store.from_bytes(key, b"2")

    assert (store.exists(key), store.to_bytes("a")) == (False, b"1")


def test_rejected_key_leaves_its_source_unread(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a/b", b"1")
    with (root / "a" / "b").open("rb") as source:
        with pytest.raises(InvalidKeyError):
            store.set_data("a", source)

        assert source.read() == b"1"


def test_deleting_the_last_key_of_a_directory_removes_it(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a/b/c", b"1")
    store.from_bytes("a/d", b"2")

    store.delete("a/b/c")
    assert sorted(path.name for path in (root / "a").iterdir()) == ["d"]
    store.delete("a/d")
    store.from_bytes("a", b"3")

    assert files_in(root)["a"] == b"3"
