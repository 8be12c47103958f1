"""The contract of metadata: JSON only, copied on the way in and on the way out."""

from __future__ import annotations

from typing import Any

import pytest

from encore_events import BaseEvent, EventManager
from encore_storage.errors import InvalidMetadataError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.kit import Source, content, put

METADATA: Metadata = {
    "text": "grün 🗝 \n",
    "int": 2**70,
    "float": 0.1,
    "yes": True,
    "none": None,
    "list": [1, [2.5, {"deep": []}]],
    "": {"": ""},
}
NOT_JSON: dict[str, Any] = {
    "a tuple": {"a": (1, 2)},
    "a set": {"a": {1}},
    "bytes": {"a": [b""]},
    "not a number": {"a": float("nan")},
    "infinity": {"a": {"b": float("-inf")}},
    "an object": {"a": object()},
    "a name that is no str": {1: "a"},
    "a deep name that is no str": {"a": [{None: 1}]},
    "a list": ["a"],
    "a str": "a",
}


class MetadataContract(ContractBase):
    """The rules of metadata."""

    def test_metadata_comes_back_equal(self, store: AbstractStore) -> None:
        """Metadata of any JSON comes back equal and of the same types."""
        put(store, "a", b"bytes", METADATA)

        assert store.get("a").metadata == store.get_metadata("a") == METADATA
        assert store.get_metadata("a")["yes"] is True
        assert isinstance(store.get_metadata("a")["float"], float)

    def test_metadata_of_subclasses_comes_back_plain(self, store: AbstractStore) -> None:
        """A subclass of a JSON type comes back as the plain type."""

        class Text(str):
            __slots__ = ()

        store.set_metadata("a", {"text": Text("plain")})

        assert type(store.get_metadata("a")["text"]) is str

    def test_set_metadata_keeps_the_bytes(self, store: AbstractStore) -> None:
        """`set_metadata` replaces all metadata and keeps the bytes and the size."""
        put(store, "a", b"old", {"state": "old", "more": 1})
        store.set_metadata("a", {"state": "new"})

        assert content(store, "a") == (b"old", {"state": "new"})
        assert store.get("a").size == 3

    def test_set_metadata_of_a_new_key_sets_no_bytes(self, store: AbstractStore) -> None:
        """`set_metadata` of a new key makes a value without bytes."""
        store.set_metadata("a", METADATA)

        assert content(store, "a") == (b"", METADATA)

    def test_update_metadata_keeps_other_items_and_the_bytes(self, store: AbstractStore) -> None:
        """`update_metadata` replaces the given items and keeps the others, and the bytes."""
        put(store, "a", b"old", {"state": "old", "more": 1})
        store.update_metadata("a", {"state": "new", "extra": [2]})

        assert content(store, "a") == (b"old", {"state": "new", "more": 1, "extra": [2]})

    def test_get_metadata_selects_items(self, store: AbstractStore) -> None:
        """`get_metadata(select=)` returns the named items that exist; an empty selection returns none."""
        put(store, "a", b"", {"one": 1, "two": 2, "three": 3})

        assert store.get_metadata("a", select=["three", "one", "none"]) == {"one": 1, "three": 3}
        assert store.get_metadata("a", select=[]) == {}

    def test_select_refuses_a_single_str(self, store: AbstractStore) -> None:
        """`select` takes several names; one str raises TypeError."""
        store.set_metadata("a", {"author": "Ada"})

        with pytest.raises(TypeError, match="put it into a list"):
            store.query("author")
        with pytest.raises(TypeError, match="put it into a list"):
            store.get_metadata("a", "author")

    def test_set_copies_the_metadata_of_the_caller(self, store: AbstractStore) -> None:
        """The store copies the metadata it is given: the caller may change it afterwards."""
        metadata: Metadata = {"tags": ["old"], "more": {"deep": 1}}
        put(store, "a", b"1", metadata)
        store.set_metadata("b", metadata)
        store.set_metadata("c", {})
        store.update_metadata("c", metadata)
        metadata["tags"].append("new")
        metadata["more"]["deep"] = 2

        for key in ("a", "b", "c"):
            assert store.get_metadata(key) == {"tags": ["old"], "more": {"deep": 1}}

    def test_get_returns_a_copy_of_the_metadata(self, store: AbstractStore) -> None:
        """The store returns a copy of its metadata: the caller may change it."""
        put(store, "a", b"1", {"tags": ["old"]})
        for metadata in (
            store.get("a").metadata,
            store.get_metadata("a"),
            store.get_metadata("a", ["tags"]),
            dict(store.query())["a"],
            dict(store.query(select=["tags"]))["a"],
            next(store.multiget_metadata(["a"])),
        ):
            metadata["tags"].append("mine")
            metadata["more"] = 1

        assert store.get_metadata("a") == {"tags": ["old"]}

    def test_listener_that_changes_the_metadata_of_an_event_changes_no_value(
        self, store: AbstractStore, manager: EventManager
    ) -> None:
        """The metadata of an event is a copy: a listener that changes it changes neither value nor caller."""

        def change(event: Any) -> None:
            if getattr(event, "metadata", None) is not None:
                event.metadata["tags"].append("changed")

        mine: Metadata = {"tags": ["old"]}
        with manager.connect(BaseEvent, change):
            put(store, "a", b"1", mine)
            store.get("a").data.close()
            store.set_metadata("a", mine)
            store.update_metadata("a", mine)

        assert mine == store.get_metadata("a") == {"tags": ["old"]}

    @pytest.mark.parametrize("metadata", NOT_JSON.values(), ids=NOT_JSON)
    def test_metadata_that_is_not_json_is_refused(self, metadata: Any, store: AbstractStore) -> None:
        """Metadata that is not JSON raises InvalidMetadataError before anything is read or written."""
        put(store, "a", b"old", {"state": "old"})
        source = Source(b"new")

        for key in ("a", "b"):
            with pytest.raises(InvalidMetadataError):
                store.set(key, (source, metadata))
            with pytest.raises(TypeError):
                store.set_metadata(key, metadata)
            with pytest.raises(TypeError):
                store.update_metadata(key, metadata)

        assert source.answers == [b"new"]
        assert content(store, "a") == (b"old", {"state": "old"})
        assert not store.exists("b")

    def test_pair_without_metadata_is_refused(self, store: AbstractStore) -> None:
        """`set` of a pair with None as metadata raises TypeError, and sets nothing."""
        with pytest.raises(TypeError, match="metadata is a NoneType, not a dict"):
            store.set("a", (Source(b"1"), None))  # type: ignore[arg-type]  # that is what is tested

        assert not store.exists("a")

    def test_number_that_python_cannot_print_is_refused(self, store: AbstractStore) -> None:
        """An int too long for Python to print raises TypeError and keeps the old metadata."""
        store.set_metadata("a", {"number": 2**70})
        with pytest.raises(TypeError, match="is a number of 20001 bits"):
            store.set_metadata("a", {"number": 2**20000})

        assert store.get_metadata("a") == {"number": 2**70}
