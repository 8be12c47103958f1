"""The contract of many keys at once: the multi-calls, queries and globs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.calls import LISTINGS, Call
from encore_storage.testing.kit import put
from encore_storage.value import Value

MULTISETS: dict[str, Callable[[AbstractStore, Iterator[Any]], None]] = {
    "multiset": lambda store, items: store.multiset(["a", "b"], ((item, {}) for item in items)),
    "multiset_data": lambda store, items: store.multiset_data(["a", "b"], items),
}
ALL = {"reports/q1.csv", "reports/q2.csv", "Reports.txt", "notes"}


def files(*datas: bytes) -> Iterator[io.BytesIO]:
    """Yield a file of each."""
    return map(io.BytesIO, datas)


class ManyContract(ContractBase):
    """The rules of multi-calls and listings."""

    @pytest.fixture
    def four_keys(self, store: AbstractStore) -> AbstractStore:
        """Return the store with four keys."""
        put(store, "reports/q1.csv", b"1", {"kind": "report", "year": 2025, "tags": ["a"]})
        put(store, "reports/q2.csv", b"2", {"kind": "report", "year": 2026})
        put(store, "Reports.txt", b"3", {"kind": "index", "year": 2026})
        put(store, "notes", b"4")
        return store

    def test_multiget_yields_values_in_order(self, four_keys: AbstractStore) -> None:
        """`multiget` yields the values in the order of the keys."""
        values = four_keys.multiget(iter(["notes", "Reports.txt"]))

        assert [(value.data.read(-1), value.metadata) for value in values] == [
            (b"4", {}),
            (b"3", {"kind": "index", "year": 2026}),
        ]

    def test_multiget_data_yields_files_in_order(self, four_keys: AbstractStore) -> None:
        """`multiget_data` yields files in the order of the keys."""
        assert [data.read() for data in four_keys.multiget_data(iter(["notes", "Reports.txt"]))] == [b"4", b"3"]

    def test_multiget_metadata_yields_metadata_in_order(self, four_keys: AbstractStore) -> None:
        """`multiget_metadata` yields the metadata in the order of the keys, selected for each of them."""
        keys = ["notes", "Reports.txt"]

        assert list(four_keys.multiget_metadata(iter(keys))) == [{}, {"kind": "index", "year": 2026}]
        assert list(four_keys.multiget_metadata(keys, iter(["kind"]))) == [{}, {"kind": "index"}]

    def test_multiget_stops_at_a_missing_key(self, four_keys: AbstractStore) -> None:
        """`multiget` raises KeyNotFoundError when it reaches the missing key, not before."""
        values = four_keys.multiget(["notes", "missing", "Reports.txt"])
        next(values).close()

        with pytest.raises(KeyNotFoundError, match="'missing'"):
            next(values)

    def test_multiset_takes_iterators(self, store: AbstractStore) -> None:
        """`multiset` takes iterators of keys and of pairs or values."""
        store.multiset(iter("ab"), ((file, {"n": n}) for n, file in enumerate(files(b"1", b"2"))))
        store.multiset(["c"], [Value(io.BytesIO(b"3"))], buffer_size=1)

        assert [store.to_bytes(key) for key in "abc"] == [b"1", b"2", b"3"]
        assert dict(store.query()) == {"a": {"n": 0}, "b": {"n": 1}, "c": {}}

    def test_multiset_data_keeps_the_metadata(self, store: AbstractStore) -> None:
        """`multiset_data` takes iterators of keys and files, and keeps the metadata."""
        put(store, "a", b"old", {"state": "old"})
        store.multiset_data(iter("ab"), files(b"1", b"2"), buffer_size=1)

        assert [store.to_bytes(key) for key in "ab"] == [b"1", b"2"]
        assert dict(store.query()) == {"a": {"state": "old"}, "b": {}}

    def test_multiset_metadata_replaces_and_multiupdate_metadata_updates(self, store: AbstractStore) -> None:
        """`multiset_metadata` replaces all metadata of each key; `multiupdate_metadata` the given items."""
        store.multiset_metadata(iter("ab"), iter([{"n": 1}, {"n": 2}]))
        store.multiset_metadata(["a"], [{"m": 1}])
        store.multiupdate_metadata(iter("ab"), iter([{"k": 1}, {"k": 2}]))

        assert dict(store.query()) == {"a": {"m": 1, "k": 1}, "b": {"n": 2, "k": 2}}

    @pytest.mark.parametrize("multiset", MULTISETS.values(), ids=MULTISETS)
    def test_multiset_that_fails_is_undone_by_transactional_stores(
        self, multiset: Callable[[AbstractStore, Iterator[Any]], None], store: AbstractStore
    ) -> None:
        """A multi-set that fails sets nothing where there are transactions, and otherwise what came before."""

        def datas() -> Iterator[io.BytesIO]:
            yield io.BytesIO(b"1")
            raise OSError("cable")

        with pytest.raises(OSError, match="cable"):
            multiset(store, datas())

        assert store.exists("a") is not store.info()["transactional"]

    def test_multi_call_is_one_transaction(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """Each multi-set is one transaction, with its name as notes, where there are transactions."""
        store.multiset(["a"], [(io.BytesIO(b"1"), {})])
        store.multiset_data(["a"], files(b"1"))
        store.multiset_metadata(["a"], [{}])
        store.multiupdate_metadata(["a"], [{}])

        notes = [(event.notes, event.held) for event in recorder.of(StoreTransactionEndEvent)]
        names = ["multiset", "multiset_data", "multiset_metadata", "multiupdate_metadata"]
        assert notes == [(name, 1) for name in names if store.info()["transactional"]]

    @pytest.mark.parametrize(
        ("keys", "count"), [(["a", "b"], 1), (["a"], 2)], ids=["more keys than values", "more values than keys"]
    )
    def test_multiset_requires_as_many_keys_as_values(self, keys: list[str], count: int, store: AbstractStore) -> None:
        """A multi-set raises ValueError if there are not as many values as keys.

        Nothing is set if both have a length, or if there are transactions.
        """
        with pytest.raises(ValueError, match="one item per key"):
            store.multiset_metadata(keys, [{}] * count)
        assert list(store.query_keys()) == []

        with pytest.raises(ValueError, match="one item per key"):
            store.multiset_metadata(iter(keys), iter([{}] * count))
        assert list(store.query_keys()) == ([] if store.info()["transactional"] else ["a"])

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            ({}, ALL),
            ({"kind": "report"}, {"reports/q1.csv", "reports/q2.csv"}),
            ({"kind": "report", "year": 2026}, {"reports/q2.csv"}),
            ({"tags": ["a"]}, {"reports/q1.csv"}),
            ({"year": "2026"}, set()),
            ({"missing": None}, set()),
        ],
        ids=["all", "one item", "two items", "a list", "another type", "a missing item"],
    )
    def test_query_returns_keys_with_all_items(
        self, wanted: Metadata, keys: set[str], four_keys: AbstractStore
    ) -> None:
        """A query returns each key with all of the items once, and all metadata of the key."""
        queried = list(four_keys.query(**wanted))

        assert {key for key, _ in queried} == set(four_keys.query_keys(**wanted)) == keys
        assert len(queried) == len(keys)
        assert all(metadata == four_keys.get_metadata(key) for key, metadata in queried)

    def test_query_selects_items_it_returns(self, four_keys: AbstractStore) -> None:
        """`query(select=)` limits the returned items, not the items that are compared."""
        queried = four_keys.query(iter(["year", "missing"]), kind="report")

        assert dict(queried) == {"reports/q1.csv": {"year": 2025}, "reports/q2.csv": {"year": 2026}}

    def test_query_accepts_any_item_name(self, store: AbstractStore) -> None:
        """An item named `self` can be queried like any other."""
        store.set_metadata("a", {"self": 1})

        assert list(store.query_keys(self=1)) == ["a"]
        assert list(store.query(self=1)) == [("a", {"self": 1})]

    @pytest.mark.parametrize(
        ("pattern", "keys"),
        [
            ("*", ALL),
            ("reports*", {"reports/q1.csv", "reports/q2.csv"}),
            ("*.csv", {"reports/q1.csv", "reports/q2.csv"}),
            ("reports/q[!1].csv", {"reports/q2.csv"}),
            ("????s", {"notes"}),
            ("notes", {"notes"}),
            ("", set()),
        ],
    )
    def test_glob_is_case_sensitive(self, pattern: str, keys: set[str], four_keys: AbstractStore) -> None:
        """`glob` returns the keys that match the shell pattern; case matters, and `*` matches `/`."""
        assert sorted(four_keys.glob(pattern)) == sorted(keys)

    def test_empty_store_has_no_keys(self, store: AbstractStore) -> None:
        """A new store lists no keys."""
        assert list(store.query()) == []
        assert list(store.query_keys()) == []
        assert list(store.glob("*")) == []
        assert list(store.list()) == []

    @pytest.mark.parametrize("prefix", ["", "reports/", "reports/q1", "Rep", "notes", "nothing", "\ud800"], ids=ascii)
    def test_list_returns_sizes_and_times(self, prefix: str, four_keys: AbstractStore) -> None:
        """`list` returns each key that begins with the prefix once, with the size and times that `get` returns."""
        four_keys.from_bytes("reports/q1.csv", b"12345")

        listed = list(four_keys.list(prefix))

        assert sorted(each.key for each in listed) == sorted(key for key in ALL if key.startswith(prefix))
        for key, size, created, modified in listed:
            value = four_keys.get(key)
            assert (size, created, modified) == (value.size, value.created, value.modified)

    @pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)
    @pytest.mark.parametrize("change", ["b{}", "z/{}"])
    @pytest.mark.parametrize("is_in_transaction", [False, True], ids=["alone", "in a transaction"])
    def test_keys_renamed_while_they_are_listed_come_once(
        self, is_in_transaction: bool, change: str, listing: Call, store: AbstractStore
    ) -> None:
        """Each key comes once, as of the first `next`, also if it is renamed when it comes."""
        keys = [f"a{number}" for number in range(5)]
        for key in keys:
            store.from_bytes(key, b"1", {"n": 1})

        seen = []
        with store.transaction() if is_in_transaction else nullcontext():
            for found in listing(store):
                key = found if isinstance(found, str) else found[0]
                seen.append(key)
                assert len(seen) <= len(keys)
                store.from_bytes(change.format(key), store.to_bytes(key), store.get_metadata(key))
                store.delete(key)

        assert sorted(seen) == sorted(keys)
        assert sorted(store.query_keys()) == sorted(map(change.format, keys))

    def test_keys_are_those_of_the_first_next(self, store: AbstractStore) -> None:
        """`query_keys` and `glob` return the keys as of the first `next`, whatever is set or deleted afterwards."""
        listings = [store.query_keys(), store.query_keys(n=1), store.glob("*")]
        for key in "abc":
            store.from_bytes(key, b"1", {"n": 1})

        first = [next(listing) for listing in listings]
        store.from_bytes("d", b"1", {"n": 1})
        store.set_metadata("b", {})
        for key in "ac":
            store.delete(key)

        assert [sorted([key, *listing]) for key, listing in zip(first, listings, strict=True)] == [["a", "b", "c"]] * 3

    def test_store_can_be_changed_while_it_is_listed(self, four_keys: AbstractStore) -> None:
        """Values may be deleted and changed while a query runs, which still returns each of the other keys."""
        for key in four_keys.query_keys():
            four_keys.delete(key)
        assert list(four_keys.query_keys()) == []

        for number in range(50):
            four_keys.from_bytes(f"key {number}", b"1")
        for key, _ in four_keys.query():
            four_keys.update_metadata(key, {"seen": True})
        assert len(list(four_keys.query_keys(seen=True))) == 50

    def test_listing_left_early_blocks_nothing(self, four_keys: AbstractStore) -> None:
        """A query that is closed early releases what it holds, and returns nothing more."""
        with four_keys.query_keys() as keys:
            next(keys)
        listing = four_keys.query()
        next(listing)
        listing.close()
        put(four_keys, "more", b"1")
        four_keys.disconnect()

        assert list(keys) == []
        assert list(listing) == []
