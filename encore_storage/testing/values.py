"""The contract of values: they come back as they were set, and a set that fails changes nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import InvalidKeyError, InvalidKeyTypeError, KeyNotFoundError
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent
from encore_storage.stores.abstract import AbstractStore
from encore_storage.streams import MEBIBYTE
from encore_storage.testing.base import ContractBase, NewStore
from encore_storage.testing.calls import MISSING, Call
from encore_storage.testing.kit import Source, content, put
from encore_storage.value import Value


class ValueContract(ContractBase):
    """The rules of setting, replacing, reading and deleting values."""

    @pytest.mark.parametrize("size", [0, 1, 65536, MEBIBYTE, 2 * MEBIBYTE + 3])
    def test_get_returns_what_was_set(self, size: int, store: AbstractStore) -> None:
        """`get` returns the bytes, the metadata and the size that were set, whatever the size."""
        data = bytes(range(256)) * (size // 256) + bytes(size % 256)
        put(store, "a", data, {"kind": "example"})

        with store.get("a") as value:
            assert value.data.read(-1) == data
            assert value.metadata == {"kind": "example"}
            assert value.size == size

    def test_value_unpacks_as_data_and_metadata(self, store: AbstractStore) -> None:
        """A value unpacks as `data, metadata`."""
        put(store, "a", b"bytes", {"kind": "example"})

        data, metadata = store.get("a")
        with data:
            assert (data.read(-1), metadata) == (b"bytes", {"kind": "example"})

    def test_set_accepts_short_reads(self, store: AbstractStore) -> None:
        """A source may return fewer bytes than asked for; only b"" is its end."""
        store.set("a", (Source(b"one ", b"t", b"wo"), {}), buffer_size=4)

        assert store.to_bytes("a", buffer_size=2) == b"one two"

    def test_set_accepts_a_value(self, store: AbstractStore) -> None:
        """`set` takes a `Value` as well as a pair of file and metadata."""
        store.set("a", Value(io.BytesIO(b"bytes"), {"kind": "example"}))

        assert content(store, "a") == (b"bytes", {"kind": "example"})

    def test_set_accepts_a_value_of_another_store(self, new_store: NewStore) -> None:
        """`set` takes what `get` of another store returned."""
        source, target = new_store("source"), new_store("target")
        put(source, "a", b"bytes", {"kind": "example"})

        target.set("b", source.get("a"))

        assert content(target, "b") == (b"bytes", {"kind": "example"})

    @pytest.mark.parametrize("key", ["a", "b"])
    def test_set_accepts_a_value_of_the_store_itself(self, key: str, store: AbstractStore) -> None:
        """A value may be read from the store that it is written to, under the same key or another."""
        put(store, "a", b"bytes" * 50_000, {"kind": "example"})

        store.set(key, store.get("a"), buffer_size=1000)

        assert content(store, key) == (b"bytes" * 50_000, {"kind": "example"})

    def test_set_closes_a_value_that_it_opened(self, new_store: NewStore, recorder: EventRecorder) -> None:
        """`set` closes the value that it opened, also when it fails."""
        source, target = new_store("source"), new_store("target")
        source.from_bytes("a", b"1" * 100)
        recorder.clear()

        with pytest.raises(InvalidKeyError):
            target.set(1, source.get("a"))  # type: ignore[arg-type]  # that is what is tested

        (end,) = [event for event in recorder.of(StoreProgressEndEvent) if event.operation == "get"]
        assert (end.outcome, end.bytes) == ("ok", 0)

    def test_set_leaves_open_what_the_caller_opened(self, new_store: NewStore) -> None:
        """`set` reads on from where the caller is, and does not close what the caller opened."""
        source, target = new_store("source"), new_store("target")
        source.from_bytes("a", b"0123456789")

        with source.get("a") as opened:
            opened.data.read(4)
            target.set("a", opened)
            file = io.BytesIO(b"bytes")
            target.set("b", Value(file))

            assert target.to_bytes("a") == b"456789"
            assert opened.data.read() == b""
            assert not file.closed

    def test_from_bytes_replaces_given_metadata(self, store: AbstractStore) -> None:
        """`from_bytes` replaces the metadata by the given one, and keeps it if none is given."""
        given = {"tags": ["new"]}
        store.from_bytes("a", b"1", given)
        given["tags"].append("later")
        assert content(store, "a") == (b"1", {"tags": ["new"]})

        store.from_bytes("a", b"2")
        assert content(store, "a") == (b"2", {"tags": ["new"]})
        store.from_bytes("a", b"3", {})
        assert content(store, "a") == (b"3", {})

    @pytest.mark.parametrize(
        "value", [b"bytes", (b"bytes",), (io.BytesIO(), {}, 1), None], ids=["bytes", "single", "triple", "None"]
    )
    def test_set_refuses_other_types(self, value: Any, store: AbstractStore) -> None:
        """`set` raises TypeError for anything but a Value or a pair, and sets nothing."""
        with pytest.raises(TypeError, match="a Value or a pair"):
            store.set("a", value)

        assert not store.exists("a")

    @pytest.mark.parametrize("source", [b"bytes", io.StringIO("text"), None], ids=["bytes", "text", "None"])
    def test_set_from_something_unreadable_changes_nothing(self, source: Any, store: AbstractStore) -> None:
        """`set` raises TypeError for a source that is not a binary file, and keeps the old value."""
        put(store, "a", b"old", {"state": "old"})
        with pytest.raises(TypeError):
            store.set("a", (source, {}))

        assert content(store, "a") == (b"old", {"state": "old"})

    @pytest.mark.parametrize("buffer_size", [0, -1])
    def test_set_refuses_an_empty_buffer(self, buffer_size: int, store: AbstractStore) -> None:
        """`set` raises ValueError for a `buffer_size` below 1, and sets nothing."""
        with pytest.raises(ValueError, match="buffer_size"):
            store.set("a", (io.BytesIO(b"1"), {}), buffer_size=buffer_size)

        assert not store.exists("a")

    def test_error_shows_no_bytes(self, store: AbstractStore) -> None:
        """The message of an error never shows bytes of a value."""
        secret = b"s3cret" * 1000
        for call in (store.set_data, store.set):
            with pytest.raises(TypeError) as caught:
                call("a", secret)  # type: ignore[arg-type]  # that is what is tested
            assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("call", MISSING.values(), ids=MISSING)
    def test_missing_key_raises_key_not_found(self, call: Call, store: AbstractStore) -> None:
        """Calls that need a value raise `KeyNotFoundError(key, store.name)` where there is none."""
        with pytest.raises(KeyNotFoundError, match="no value under key 'missing' in store 'archive'"):
            call(store)

    @pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
    def test_key_of_another_type_is_refused(self, key: Any, store: AbstractStore) -> None:
        """A key that is not a str raises InvalidKeyError, which is a TypeError here."""
        for call in (store.exists, store.get, lambda key: put(store, key, b"1")):
            with pytest.raises(InvalidKeyTypeError, match=f"of type {type(key).__name__}, not a str") as caught:
                call(key)
            assert isinstance(caught.value, InvalidKeyError)
            assert isinstance(caught.value, TypeError)
            assert isinstance(caught.value, ValueError)

    def test_key_exists_from_set_to_delete(self, store: AbstractStore) -> None:
        """A key exists from its first set to its delete, and can be set again with nothing left of the old value."""
        assert not store.exists("a")
        put(store, "a", b"1", {"state": "old"})
        assert store.exists("a")
        store.delete("a")
        assert not store.exists("a")
        put(store, "a", b"2")
        assert content(store, "a") == (b"2", {})

    def test_set_replaces_bytes_and_metadata(self, store: AbstractStore) -> None:
        """`set` replaces the whole value: nothing is left of longer bytes or of other metadata."""
        put(store, "a", b"a long old value", {"state": "old", "more": 1})
        put(store, "a", b"new", {"state": "new"})

        assert content(store, "a") == (b"new", {"state": "new"})

    def test_set_data_keeps_the_metadata(self, store: AbstractStore) -> None:
        """`set_data` replaces the bytes and keeps the metadata."""
        put(store, "a", b"old", {"state": "old"})
        store.set_data("a", io.BytesIO(b"new"))

        assert content(store, "a") == (b"new", {"state": "old"})

    def test_set_data_of_a_new_key_sets_empty_metadata(self, store: AbstractStore) -> None:
        """`set_data` of a new key makes a value with empty metadata."""
        store.set_data("a", io.BytesIO(b"new"))

        assert content(store, "a") == (b"new", {})

    def test_from_bytes_keeps_the_metadata(self, store: AbstractStore) -> None:
        """`from_bytes` replaces the bytes and keeps the metadata."""
        put(store, "a", b"old", {"state": "old"})
        store.from_bytes("a", b"new", buffer_size=2)

        assert content(store, "a") == (b"new", {"state": "old"})

    @pytest.mark.parametrize("error", [OSError("cable"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
    @pytest.mark.parametrize("data", [b"old", None], ids=["old value", "new key"])
    def test_source_that_fails_leaves_the_old_value(
        self, data: bytes | None, error: BaseException, store: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A source that raises in mid-stream leaves the old value, or no key, and no modification event is emitted."""
        if data is not None:
            put(store, "a", data, {"state": "old"})
        recorder.clear()

        with pytest.raises(type(error)):
            store.set("a", (Source(b"n" * 100_000, b"e", error), {"state": "new"}), buffer_size=100_000)
        with pytest.raises(type(error)):
            store.set_data("a", Source(b"n" * 100_000, error))

        assert recorder.of(StoreModificationEvent) == []
        assert list(store.query_keys()) == ([] if data is None else ["a"])
        if data is not None:
            assert content(store, "a") == (b"old", {"state": "old"})

    def test_times_are_seconds_since_the_epoch(self, store: AbstractStore) -> None:
        """`created` and `modified` are seconds since the epoch; a later set does not set them back."""
        put(store, "a", b"1")
        first = store.get("a")
        put(store, "a", b"2")
        second = store.get("a")

        for value in (first, second):
            assert value.created is not None
            assert value.modified is not None
            assert 1.7e9 < value.created <= value.modified
        assert first.created is not None
        assert second.created is not None
        assert second.created >= first.created
        assert first.modified is not None
        assert second.modified is not None
        assert second.modified >= first.modified
