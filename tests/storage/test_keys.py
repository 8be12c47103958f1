"""Keys of our stores: any str, and none leads out of the directory of its store."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from encore_storage.errors import InvalidKeyError
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.keys import SUSPICIOUS, id_of, is_kept
from tests.storage.support import MakeStore, put


@pytest.mark.parametrize("key", SUSPICIOUS, ids=id_of)
def test_suspicious_key_never_leaves_the_root(key: str, make_store: MakeStore, tmp_path: Path) -> None:
    outside = tmp_path / "x"
    outside.write_bytes(b"mine")

    with suppress(InvalidKeyError):
        put(make_store("archive"), key, b"theirs")

    assert outside.read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith("archive")} == {"x"}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.text(max_size=12), unique=True, max_size=6))
@example(keys=["a", "a/b"])
@example(keys=["a/b", "a"])
@example(keys=["a", "A", "ä", "Ä"])
def test_any_keys_come_back_or_are_refused(keys: list[str], store: AbstractStore) -> None:
    kept = [key for key in keys if is_kept(store, key)]

    assert sorted(store.query_keys()) == sorted(kept)
    for key in kept:
        assert store.to_bytes(key) == repr(key).encode()
        store.delete(key)
    assert list(store.query_keys()) == []
