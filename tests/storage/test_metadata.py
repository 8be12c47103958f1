"""Metadata is checked to be JSON, and copied."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_storage import AbstractStore
from encore_storage.errors import InvalidMetadataError
from encore_storage.metadata import MAX_DEPTH, GivenMetadata, checked_metadata, copied_metadata, selected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
NOT_JSON: list[tuple[Any, str]] = [
    ([], "metadata is a list"),
    (None, "metadata is a NoneType"),
    ({"a": (1,)}, "metadata['a'] is a tuple"),
    ({"a": {1}}, "metadata['a'] is a set"),
    ({"a": [0, b""]}, "metadata['a'][1] is a bytes"),
    ({"a": {"b": object}}, "metadata['a']['b'] is a type"),
    ({"a": float("nan")}, "metadata['a'] is nan"),
    ({"a": [float("inf")]}, "metadata['a'][0] is inf"),
    ({1: "a"}, "metadata has a name that is a int"),
    ({"a": {None: 1}}, "metadata['a'] has a name that is a NoneType"),
]


def nested_too_deeply() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(100_000):
        inner = {"a": inner}
    return inner


def containing_itself() -> dict[str, Any]:
    metadata: dict[str, Any] = {"a": []}
    metadata["a"].append(metadata)
    return metadata


@given(st.dictionaries(st.text(), JSON))
def test_json_is_copied_equal_and_can_be_encoded(metadata: dict[str, Any]) -> None:
    copied = checked_metadata(metadata)

    assert copied == metadata
    assert json.loads(json.dumps(copied, allow_nan=False)) == metadata


@pytest.mark.parametrize(("metadata", "message"), NOT_JSON, ids=[message for _, message in NOT_JSON])
def test_error_names_the_place_that_is_not_json(metadata: Any, message: str) -> None:
    with pytest.raises(InvalidMetadataError, match=re.escape(message)):
        checked_metadata(metadata)


@pytest.mark.parametrize("make", [nested_too_deeply, containing_itself])
def test_endless_metadata_is_refused(make: Any) -> None:
    with pytest.raises(InvalidMetadataError, match="metadata has more than 50 levels, or contains itself"):
        checked_metadata(make())


def test_copy_shares_nothing_mutable() -> None:
    metadata: dict[str, Any] = {"list": [{"deep": []}], "dict": OrderedDict(a=[1])}
    copied = checked_metadata(metadata)
    metadata["list"][0]["deep"].append(1)
    metadata["dict"]["a"].append(2)

    assert copied == {"list": [{"deep": []}], "dict": {"a": [1]}}
    assert type(copied["dict"]) is dict


def test_selected_returns_the_items_that_exist() -> None:
    assert selected({"a": 1, "b": 2}, ["b", "c"]) == {"b": 2}
    assert selected({"a": 1, "b": 2}, []) == {}
    assert selected({"a": 1, "b": 2}, None) == {"a": 1, "b": 2}


def test_given_metadata_is_copied_once_and_checked_on_demand() -> None:
    metadata: dict[str, Any] = {"a": []}
    given = GivenMetadata(metadata)
    metadata["a"].append(1)

    assert given.copy == {"a": []}
    assert given.checked() is given.copy
    assert GivenMetadata({"a": object()}).copy is None
    with pytest.raises(InvalidMetadataError, match="metadata"):
        GivenMetadata(None).checked()


def deeper(levels: int, call: Callable[[], object]) -> object:
    return deeper(levels - 1, call) if levels else call()


@pytest.mark.parametrize("container", [dict, list])
def test_metadata_that_was_written_can_be_read_from_a_deep_call(container: type, store: AbstractStore) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = {"a": value} if container is dict else [value]
    store.set_metadata("k", {"a": value})

    assert deeper(500, lambda: store.get_metadata("k")) == {"a": value}
    with pytest.raises(InvalidMetadataError, match="metadata has more than 50 levels"):
        store.update_metadata("k", {"a": [value]})
    assert copied_metadata({"a": [value]}) == {"a": [value]}
