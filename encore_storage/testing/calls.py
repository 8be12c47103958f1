"""The calls of a store, as tables: what each emits when it succeeds, misses or is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.kit import put

Call = Callable[[AbstractStore], Any]

SIZE = 200_000
DATA = b"x" * SIZE

LOOK_UP, GET, RANGE, SET = ("get_metadata", None), ("get", "read"), ("get_range", "read"), ("set", "write")


def whole(manager: AbstractContextManager[Any]) -> bytes:
    """Return all bytes of a file, read 20,000 at a time."""
    with manager as file:
        return b"".join(iter(lambda: file.read(20_000), b""))


# The operations, with their directions, that a call starts on a store with the keys `a` and `b`.
OK: dict[str, tuple[Call, list[tuple[str, str | None]]]] = {
    "get": (lambda store: whole(store.get("a").data), [LOOK_UP, GET]),
    "get, never opened": (lambda store: store.get("a"), [LOOK_UP]),
    "range of get": (lambda store: whole(store.get("a").range(5)), [LOOK_UP, RANGE]),
    "get_data": (lambda store: whole(store.get_data("a")), [GET]),
    "get_data_range": (lambda store: whole(store.get_data_range("a", 5, SIZE - 5)), [RANGE]),
    "get_metadata": (lambda store: store.get_metadata("a"), [LOOK_UP]),
    "exists": (lambda store: store.exists("a"), [("exists", None)]),
    "exists, missing": (lambda store: store.exists("missing"), [("exists", None)]),
    "set": (lambda store: put(store, "a", DATA), [SET]),
    "set of a value": (lambda store: store.set("b", store.get("a")), [LOOK_UP, SET, GET]),
    "set_data": (lambda store: store.set_data("a", io.BytesIO(DATA)), [SET]),
    "set_metadata": (lambda store: store.set_metadata("a", {}), [("set_metadata", None)]),
    "update_metadata": (lambda store: store.update_metadata("a", {}), [("update_metadata", None)]),
    "delete": (lambda store: store.delete("a"), [("delete", None)]),
    "multiget": (lambda store: [whole(value.data) for value in store.multiget(["a"])], [LOOK_UP, GET]),
    "multiget_data": (lambda store: [whole(data) for data in store.multiget_data(["a"])], [GET]),
    "multiget_metadata": (lambda store: list(store.multiget_metadata(["a"])), [LOOK_UP]),
    "multiset": (lambda store: store.multiset(["b", "c"], [(io.BytesIO(DATA), {})] * 2), [SET, SET]),
    "multiset_data": (lambda store: store.multiset_data(["b"], [io.BytesIO(DATA)]), [SET]),
    "multiset_metadata": (lambda store: store.multiset_metadata(["b"], [{}]), [("set_metadata", None)]),
    "multiupdate_metadata": (lambda store: store.multiupdate_metadata(["a"], [{}]), [("update_metadata", None)]),
    "query": (lambda store: list(store.query()), [("query", None)]),
    "query_keys": (lambda store: list(store.query_keys(n=1)), [("query", None)]),
    "glob": (lambda store: list(store.glob("*")), [("query", None)]),
    "list": (lambda store: list(store.list()), [("list", None)]),
    "to_bytes": (lambda store: store.to_bytes("a", 1000), [GET]),
    "from_bytes": (lambda store: store.from_bytes("a", DATA), [SET]),
    "from_bytes, with metadata": (lambda store: store.from_bytes("a", DATA, {"n": 2}), [SET]),
}
# The operation that a missing key is a miss of.
MISS: dict[str, tuple[Call, str]] = {
    "get": (lambda store: store.get("missing"), "get_metadata"),
    "get_data": (lambda store: store.get_data("missing"), "get"),
    "get_data_range": (lambda store: store.get_data_range("missing", 1, 2), "get_range"),
    "get_metadata": (lambda store: store.get_metadata("missing"), "get_metadata"),
    "update_metadata": (lambda store: store.update_metadata("missing", {}), "update_metadata"),
    "delete": (lambda store: store.delete("missing"), "delete"),
    "to_bytes": (lambda store: store.to_bytes("missing"), "get"),
}
# The operation that ends with the error.
REFUSED: dict[str, tuple[Call, str]] = {
    "get": (lambda store: store.get(1), "get_metadata"),  # type: ignore[arg-type]  # so are the others
    "get_data": (lambda store: store.get_data(1), "get"),  # type: ignore[arg-type]
    "get_data_range": (lambda store: store.get_data_range("a", -1), "get_range"),
    "exists": (lambda store: store.exists(1), "exists"),  # type: ignore[arg-type]
    "set": (lambda store: put(store, "a", b"", {"a": object()}), "set"),
    "set, no value": (lambda store: store.set("a", b"bytes"), "set"),  # type: ignore[arg-type]
    "set, no file": (lambda store: store.set("a", (None, {})), "set"),  # type: ignore[arg-type]
    "set, no metadata": (lambda store: store.set("a", (io.BytesIO(b"1"), None)), "set"),  # type: ignore[arg-type]
    "from_bytes, None": (lambda store: store.from_bytes("a", None), "set"),  # type: ignore[arg-type]
    "from_bytes, int": (lambda store: store.from_bytes("a", 3), "set"),  # type: ignore[arg-type]
    "from_bytes, str": (lambda store: store.from_bytes("a", "text"), "set"),  # type: ignore[arg-type]
    "from_bytes, no metadata": (lambda store: store.from_bytes("a", b"", {"a": object()}), "set"),
    "set_metadata": (lambda store: store.set_metadata("a", {"a": object()}), "set_metadata"),
    "update_metadata": (lambda store: store.update_metadata("a", {"a": object()}), "update_metadata"),
    "delete": (lambda store: store.delete(1), "delete"),  # type: ignore[arg-type]
    "list": (lambda store: store.list(1), "list"),  # type: ignore[arg-type]
    "glob": (lambda store: store.glob(1), "query"),  # type: ignore[arg-type]
    "query": (lambda store: store.query(1), "query"),  # type: ignore[arg-type]
    "query, str": (lambda store: store.query("n"), "query"),
    "get_metadata, str": (lambda store: store.get_metadata("a", "n"), "get_metadata"),
    "multiget": (lambda store: store.multiget(1), "get_metadata"),  # type: ignore[arg-type]
    "multiget_data": (lambda store: store.multiget_data(1), "get"),  # type: ignore[arg-type]
    "multiget_metadata": (lambda store: store.multiget_metadata(["a"], "n"), "get_metadata"),
    "multiset": (lambda store: store.multiset(["a"], []), "set"),
    "multiset_data": (lambda store: store.multiset_data(1, []), "set"),  # type: ignore[arg-type]
    "multiset_metadata": (lambda store: store.multiset_metadata(["a"], []), "set_metadata"),
    "multiupdate_metadata": (lambda store: store.multiupdate_metadata([], [{}]), "update_metadata"),
    "from_file, NUL": (lambda store: store.from_file("a", "a\0b"), "set"),
    "from_file, surrogate": (lambda store: store.from_file("a", "\ud800"), "set"),
    "from_file, None": (lambda store: store.from_file("a", None), "set"),  # type: ignore[arg-type]
    "to_file, NUL": (lambda store: store.to_file("a", "a\0b"), "get"),
    "to_file, None": (lambda store: store.to_file("a", None), "get"),  # type: ignore[arg-type]
}
READS: dict[str, tuple[Call, str]] = {
    "get": (lambda store: store.get("a").data, "get"),
    "get_data": (lambda store: store.get_data("a"), "get"),
    "get_data_range": (lambda store: store.get_data_range("a", 5, SIZE), "get_range"),
    "range": (lambda store: store.get("a").range(5), "get_range"),
}
QUERIES: dict[str, Call] = {
    "query": lambda store: store.query(),
    "query_keys": lambda store: store.query_keys(),
    "query_keys by metadata": lambda store: store.query_keys(n=1),
    "glob": lambda store: store.glob("*"),
}
LISTINGS: dict[str, Call] = {**QUERIES, "list": lambda store: store.list()}
MISSING: dict[str, Call] = {
    **{name: call for name, (call, _) in MISS.items()},
    "multiget": lambda store: list(store.multiget(["missing"])),
    "multiget_data": lambda store: list(store.multiget_data(["missing"])),
    "multiget_metadata": lambda store: list(store.multiget_metadata(["missing"])),
}
EVERY_CALL: dict[str, Call] = {
    **MISSING,
    "exists": lambda store: store.exists("missing"),
    "set": lambda store: put(store, "a", b"1"),
    "set_data": lambda store: store.set_data("a", io.BytesIO(b"1")),
    "set_metadata": lambda store: store.set_metadata("a", {}),
    "from_bytes": lambda store: store.from_bytes("a", b"1"),
    "query": lambda store: store.query(),
    "query_keys": lambda store: store.query_keys(),
    "glob": lambda store: store.glob("*"),
    "list": lambda store: store.list(),
    "transaction": lambda store: store.transaction("x"),
    "multiset": lambda store: store.multiset([], []),
}


class CallContract(ContractBase):
    """The parts of the contract that make these calls."""

    @pytest.fixture
    def two_keys(self, store: AbstractStore, recorder: EventRecorder, every_step: None) -> AbstractStore:
        """Return the store with the keys `a` and `b`; nothing is recorded yet."""
        put(store, "a", DATA, {"n": 1})
        put(store, "b", DATA, {"n": 1})
        recorder.clear()
        return store
