"""The contract of keys: any str comes back as it was given, or is refused with InvalidKeyError."""

from __future__ import annotations

from contextlib import suppress

import pytest

from encore_storage.errors import InvalidKeyError, KeyNotFoundError
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.kit import put

KEYS = [
    "a",
    "A",
    "with a space",
    " in spaces ",
    "dots...",
    "grün",
    "gru\u0308n",  # looks the same, and is another key
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
ORDINARY = ["a", "with a space", "grün", "🗝️🚀", "folder/file", "-rf", "100%41", "*?[seq]"]


def id_of(key: str) -> str:
    """Return the id of the test with that key."""
    return ascii(key if len(key) <= 30 else f"{key[:9]}, {len(key)} characters")


def is_kept(store: AbstractStore, key: str) -> bool:
    """Set the key and return whether the store accepted it, after checking that all calls agree."""
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


class KeyContract(ContractBase):
    """The rules of keys."""

    @pytest.mark.parametrize("key", [*KEYS, *SUSPICIOUS], ids=id_of)
    def test_key_comes_back_or_is_refused(self, key: str, store: AbstractStore) -> None:
        """A key comes back exactly as it was given, or every call with it raises InvalidKeyError."""
        if is_kept(store, key):
            assert list(store.query_keys()) == [key]
            store.delete(key)
        assert list(store.query_keys()) == []

    def test_ordinary_keys_are_accepted(self, store: AbstractStore) -> None:
        """Letters of any script, spaces, slashes and punctuation are accepted."""
        assert [key for key in ORDINARY if not is_kept(store, key)] == []

    def test_keys_are_distinct(self, store: AbstractStore) -> None:
        """Keys that differ in case, normalization or white space are different keys."""
        kept = [key for key in KEYS if is_kept(store, key)]

        assert sorted(store.query_keys()) == sorted(kept)
        for key in kept:
            assert store.to_bytes(key) == repr(key).encode()
