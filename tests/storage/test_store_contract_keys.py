"""A key is any str: it comes back as it was given, or it is refused with a clear error."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from encore_storage.errors import InvalidKeyError, KeyNotFoundError
from encore_storage.stores.abstract import AbstractStore
from tests.storage.support import MakeStore, put

KEYS = [
    "a",
    "A",
    "with a space",
    " in spaces ",
    "dots...",
    "grün",
    "gru\u0308n",  # the same to the eye
    "🗝️🚀",
    "new\nline",
    "tab\tand\rreturn",
    "back\\slash",
    "100%41",
    "*?[seq]",
    "'quoted' \"twice\"",
    "semi;colon -- drop table",
    "CON",
    "nul.txt",
    "x" * 300,
    "🗝" * 100,
    "folder/file",
    "folder/other",
    "Folder/file",
    "deep/" * 30 + "file",
    ".hidden",
    "-rf",
    "~",
    "$HOME",
]
SUSPICIOUS = [
    "",
    ".",
    "..",
    "../x",
    "folder/../../x",
    "/etc/passwd",
    "a//b",
    "a/",
    "a/./b",
    "C:\\x",
    "\0",
    "nul\0inside",
    "\ud800",
    "x" * 5000,
    "x/" * 3000 + "x",
    ".encore",
    ".encore/metadata",
    ".ENCORE/x",
    "x.part",
]


def round_trips(store: AbstractStore, key: str) -> bool:
    """Whether the key can be had, and then all of it works; otherwise there is nothing under it."""
    metadata = {"key": key.encode("utf-8", "backslashreplace").decode()}
    try:
        put(store, key, repr(key).encode(), metadata)
    except InvalidKeyError:
        with suppress(InvalidKeyError):
            assert not store.exists(key)
        for call in (store.get, store.get_data, store.delete):
            with pytest.raises((InvalidKeyError, KeyNotFoundError)):
                call(key)
        return False
    assert store.exists(key)
    assert store.to_bytes(key) == repr(key).encode()
    assert store.get_metadata(key) == metadata
    assert key in set(store.query_keys())
    return True


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_a_key_comes_back_as_it_was_given(key: str, store: AbstractStore) -> None:
    if round_trips(store, key):
        assert list(store.query_keys()) == [key]
        store.delete(key)
    assert list(store.query_keys()) == []


@pytest.mark.parametrize("key", SUSPICIOUS, ids=lambda key: ascii(key[:30]))
def test_a_suspicious_key_comes_back_or_is_refused_and_never_leaves_the_root(
    key: str, make_store: MakeStore, tmp_path: Path
) -> None:
    outside = tmp_path / "x"
    outside.write_bytes(b"mine")
    store = make_store("archive")

    if round_trips(store, key):
        assert list(store.query_keys()) == [key]

    assert outside.read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("archive")} == {"x"}


def test_all_keys_live_side_by_side_and_none_is_another(store: AbstractStore) -> None:
    kept = [key for key in KEYS if round_trips(store, key)]

    assert sorted(store.query_keys()) == sorted(kept)
    for key in kept:
        assert store.to_bytes(key) == repr(key).encode()


def test_ordinary_keys_are_kept_by_every_store(store: AbstractStore) -> None:
    ordinary = ["a", "with a space", "grün", "🗝️🚀", "folder/file", "-rf", "100%41", "*?[seq]"]

    assert all(round_trips(store, key) for key in ordinary)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.text(max_size=12), unique=True, max_size=6))
@example(keys=["a", "a/b"])
@example(keys=["a/b", "a"])
@example(keys=["a", "A", "ä", "Ä"])
def test_whatever_the_keys_are_they_come_back_or_are_refused(keys: list[str], store: AbstractStore) -> None:
    kept = [key for key in keys if round_trips(store, key)]

    assert sorted(store.query_keys()) == sorted(kept)
    for key in kept:
        assert store.to_bytes(key) == repr(key).encode()
        store.delete(key)
    assert list(store.query_keys()) == []
