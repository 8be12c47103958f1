"""What holds for many keys of every store at once: the multi-calls, queries and globs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import StoreTransactionEndEvent
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.value import Value
from tests.storage.support import put

MULTISETS: dict[str, Callable[[AbstractStore, Iterator[Any]], None]] = {
    "multiset": lambda store, items: store.multiset(["a", "b"], ((item, {}) for item in items)),
    "multiset_data": lambda store, items: store.multiset_data(["a", "b"], items),
}


def files(*datas: bytes) -> Iterator[io.BytesIO]:
    return map(io.BytesIO, datas)


@pytest.fixture
def filled(store: AbstractStore) -> AbstractStore:
    """The store with four keys."""
    put(store, "reports/q1.csv", b"1", {"kind": "report", "year": 2025, "tags": ["a"]})
    put(store, "reports/q2.csv", b"2", {"kind": "report", "year": 2026})
    put(store, "Reports.txt", b"3", {"kind": "index", "year": 2026})
    put(store, "notes", b"4")
    return store


def test_multiget_gives_the_values_in_order(filled: AbstractStore) -> None:
    values = filled.multiget(iter(["notes", "Reports.txt"]))

    assert [(value.data.read(-1), value.metadata) for value in values] == [
        (b"4", {}),
        (b"3", {"kind": "index", "year": 2026}),
    ]


def test_multiget_data_gives_the_files_in_order(filled: AbstractStore) -> None:
    assert [data.read() for data in filled.multiget_data(iter(["notes", "Reports.txt"]))] == [b"4", b"3"]


def test_multiget_metadata_gives_the_metadata_in_order(filled: AbstractStore) -> None:
    keys = ["notes", "Reports.txt"]

    assert list(filled.multiget_metadata(iter(keys))) == [{}, {"kind": "index", "year": 2026}]
    assert list(filled.multiget_metadata(keys, iter(["kind"]))) == [{}, {"kind": "index"}]


def test_a_multiget_stops_at_the_first_key_that_is_missing(filled: AbstractStore) -> None:
    values = filled.multiget(["notes", "missing", "Reports.txt"])
    next(values).close()

    with pytest.raises(KeyNotFoundError, match="'missing'"):
        next(values)


def test_multiset_stores_what_generators_give(store: AbstractStore) -> None:
    store.multiset(iter("ab"), ((file, {"n": n}) for n, file in enumerate(files(b"1", b"2"))))
    store.multiset(["c"], [Value(io.BytesIO(b"3"))], buffer_size=1)

    assert [store.to_bytes(key) for key in "abc"] == [b"1", b"2", b"3"]
    assert dict(store.query()) == {"a": {"n": 0}, "b": {"n": 1}, "c": {}}


def test_multiset_data_stores_what_generators_give_and_keeps_the_metadata(store: AbstractStore) -> None:
    put(store, "a", b"old", {"state": "old"})
    store.multiset_data(iter("ab"), files(b"1", b"2"), buffer_size=1)

    assert [store.to_bytes(key) for key in "ab"] == [b"1", b"2"]
    assert dict(store.query()) == {"a": {"state": "old"}, "b": {}}


def test_multiset_metadata_replaces_and_multiupdate_metadata_updates(store: AbstractStore) -> None:
    store.multiset_metadata(iter("ab"), iter([{"n": 1}, {"n": 2}]))
    store.multiset_metadata(["a"], [{"m": 1}])
    store.multiupdate_metadata(iter("ab"), iter([{"k": 1}, {"k": 2}]))

    assert dict(store.query()) == {"a": {"m": 1, "k": 1}, "b": {"n": 2, "k": 2}}


@pytest.mark.parametrize("multiset", MULTISETS.values(), ids=MULTISETS)
def test_a_multiset_that_fails_is_undone_as_a_whole_where_there_are_transactions(
    multiset: Callable[[AbstractStore, Iterator[Any]], None], store: AbstractStore
) -> None:
    def datas() -> Iterator[io.BytesIO]:
        yield io.BytesIO(b"1")
        raise OSError("cable")

    with pytest.raises(OSError, match="cable"):
        multiset(store, datas())

    assert store.exists("a") is not store.info()["transactional"]


def test_each_multi_call_is_one_transaction_that_says_which(store: AbstractStore, recorder: EventRecorder) -> None:
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
def test_as_many_keys_as_values_are_asked_for(keys: list[str], count: int, store: AbstractStore) -> None:
    with pytest.raises(ValueError, match="zip"):
        store.multiset_metadata(keys, [{}] * count)


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({}, {"reports/q1.csv", "reports/q2.csv", "Reports.txt", "notes"}),
        ({"kind": "report"}, {"reports/q1.csv", "reports/q2.csv"}),
        ({"kind": "report", "year": 2026}, {"reports/q2.csv"}),
        ({"tags": ["a"]}, {"reports/q1.csv"}),
        ({"year": "2026"}, set()),
        ({"missing": None}, set()),
    ],
    ids=["all", "one item", "two items", "a list", "another type", "a missing item"],
)
def test_a_query_gives_the_keys_whose_metadata_has_all_items(
    wanted: Metadata, keys: set[str], filled: AbstractStore
) -> None:
    queried = list(filled.query(**wanted))

    assert {key for key, _ in queried} == set(filled.query_keys(**wanted)) == keys
    assert len(queried) == len(keys)
    assert all(metadata == filled.get_metadata(key) for key, metadata in queried)


def test_a_query_may_select_what_it_gives_but_not_what_it_looks_at(filled: AbstractStore) -> None:
    queried = filled.query(iter(["year", "missing"]), kind="report")

    assert dict(queried) == {"reports/q1.csv": {"year": 2025}, "reports/q2.csv": {"year": 2026}}


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("*", {"reports/q1.csv", "reports/q2.csv", "Reports.txt", "notes"}),
        ("reports*", {"reports/q1.csv", "reports/q2.csv"}),
        ("*.csv", {"reports/q1.csv", "reports/q2.csv"}),
        ("reports/q[!1].csv", {"reports/q2.csv"}),
        ("????s", {"notes"}),
        ("notes", {"notes"}),
        ("", set()),
    ],
)
def test_a_glob_gives_the_keys_that_match_case_and_all(pattern: str, keys: set[str], filled: AbstractStore) -> None:
    assert sorted(filled.glob(pattern)) == sorted(keys)


def test_an_empty_store_has_no_keys(store: AbstractStore) -> None:
    assert list(store.query()) == []
    assert list(store.query_keys()) == []
    assert list(store.glob("*")) == []


def test_the_store_may_be_changed_while_its_keys_are_listed(filled: AbstractStore) -> None:
    for key in filled.query_keys():
        filled.delete(key)
    assert list(filled.query_keys()) == []

    for number in range(50):
        filled.from_bytes(f"key {number}", b"1")
    for key, _ in filled.query():
        filled.update_metadata(key, {"seen": True})
    assert len(list(filled.query_keys(seen=True))) == 50


def test_a_listing_that_is_left_early_holds_nothing_back(filled: AbstractStore) -> None:
    with filled.query_keys() as keys:
        next(keys)
    listing = filled.query()
    next(listing)
    listing.close()
    put(filled, "more", b"1")
    filled.disconnect()

    assert list(keys) == []
    assert list(listing) == []
